// How long the first token is on its way from the engine, through agent and gateway, to the client.
import { expect } from 'vitest';
import { median, percentile } from '../../bench/harness/statistics.ts';
import { form } from '../form.ts';
import { probeNames } from '../others.ts';
import type { Probe } from '../probe.ts';
import { model, prompt, traceOf } from '../probe-fleet.ts';

const limitMs = 1.5;

export const firstEvent: Probe = {
  name: probeNames.firstEvent,
  mustHold: `less than ${limitMs} ms`,
  async run(fleet) {
    const tookMs: number[] = [];
    // The first ones find code that has not been compiled yet.
    for (let number = -10; number < form.timed; number++) {
      const { traceId, headers } = traceOf();
      const body = JSON.stringify({ model, max_tokens: 4, stream: true, messages: [{ role: 'user', content: prompt(20) }] });
      const answer = await fleet.post({ body, headers }).answer;
      expect(answer?.status).toBe(200);
      if (number < 0) continue;
      const spans = await fleet.spans(traceId, (found) => found.some(({ name }) => name === 'engine.generate'));
      const span = spans.find(({ name }) => name === 'engine.generate')!;
      const toFirstS = Number((JSON.parse(span.attributesJson) as Record<string, unknown>)['gen_ai.response.time_to_first_chunk']);
      tookMs.push(answer!.firstByteAtMs - (span.startMs + toFirstS * 1000));
    }
    const ms = median(tookMs);
    return { says: `${ms.toFixed(2)} ms (p95 ${percentile(tookMs, 0.95).toFixed(1)})`, timings: [{ what: 'first event late by', ms, limitMs }] };
  },
};
