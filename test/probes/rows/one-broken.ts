// One of two engines answers 500, then 503, to everything: no request fails, and it is used again when it is well.
import { expect } from 'vitest';
import { median } from '../../bench/harness/statistics.ts';
import { form } from '../form.ts';
import { probeNames } from '../others.ts';
import type { Probe } from '../probe.ts';
import { keepAsking, manyTimes, prompt } from '../probe-fleet.ts';

const limitMs = 1_000;
/** Three in a row, and those that were on their way. */
const triedAtMost = 10;

export const oneBroken: Probe = {
  name: probeNames.oneBroken,
  mustHold: `no request fails, it is left alone but for a probe now and then, and used again within ${limitMs} ms`,
  async run(fleet) {
    const afterMs: number[] = [];
    const said: string[] = [];
    for (const status of form.broken) {
      await fleet.pretend({ 'chat-1': { status } });
      const counts = ['opens', 'probes'].map((what) => ({
        at: ['agent-chat-1'],
        name: `switchyard_engine_${what}_total`,
        labels: 'result="engine_',
      }));
      const { by, result: outcomes } = await fleet.grown(counts, () =>
        manyTimes(form.requests, 4, async () => (await fleet.stream(prompt(20), 3)).outcome),
      );
      expect(outcomes.filter((outcome) => outcome !== 'exact')).toEqual([]);
      const [requests, probes] = by as [number, number];
      expect(requests).toBeGreaterThan(0);
      expect(requests).toBeLessThanOrEqual(triedAtMost);
      expect(probes).toBeGreaterThan(0);
      said.push(`${requests} of ${form.requests} requests met it (${status}), none failed`);
      const asking = keepAsking(fleet, 4);
      const wellMs = await fleet.pretend({});
      afterMs.push((await fleet.usedAgain('chat-1', wellMs)) - wellMs);
      await asking.end();
    }
    const ms = median(afterMs);
    return {
      says: `${said.join(', ')}; used again after ${Math.round(ms)} ms`,
      timings: [{ what: 'used again after', ms: Math.max(...afterMs), limitMs }],
    };
  },
};
