// A client leaves while its prompt is being computed, streaming or not: how long the engine goes on.
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import { median } from '../../bench/harness/statistics.ts';
import { form } from '../form.ts';
import { probeNames } from '../others.ts';
import type { Probe } from '../probe.ts';
import { model, prompt, traceOf } from '../probe-fleet.ts';

const limitMs = 100;
const promptTokens = 12_000;
const leavesAfterMs = 150;

export const clientGone: Probe = {
  name: probeNames.clientGone,
  mustHold: `the engine stops within ${limitMs} ms`,
  async run(fleet) {
    const wentOnMs: number[] = [];
    for (let round = 0; round < 2 * form.rounds; round++) {
      const { traceId, headers } = traceOf();
      const content = prompt(promptTokens);
      const body = JSON.stringify({ model, max_tokens: 400, stream: round % 2 === 0, messages: [{ role: 'user', content }] });
      const asked = fleet.post({ body, headers });
      await pause(leavesAfterMs);
      const leftAtMs = asked.leave();
      expect(await asked.answer, 'it left before the first byte').toBeUndefined();
      const spans = await fleet.spans(traceId, (found) => found.some(({ name }) => name === 'engine.generate'));
      const span = spans.find(({ name }) => name === 'engine.generate')!;
      expect(span.attributesJson, 'the engine had said nothing').not.toContain('time_to_first_chunk');
      wentOnMs.push(Math.max(0, span.endMs - leftAtMs));
    }
    const ms = median(wentOnMs);
    const worst = Math.max(...wentOnMs);
    return {
      says: `the engine stops within ${ms.toFixed(1)} ms (at worst ${worst.toFixed(1)}), streaming or not`,
      timings: [{ what: 'the engine went on for', ms: worst, limitMs }],
    };
  },
};
