// An engine is away while thirty requests come, and then is there again.
import { expect } from 'vitest';
import { median } from '../../bench/harness/statistics.ts';
import { form } from '../form.ts';
import { probeNames } from '../others.ts';
import type { Probe } from '../probe.ts';
import { gatewayId, keepAsking, manyTimes, prompt } from '../probe-fleet.ts';

const limitMs = 1_000;
const requests = 30;

export const backAgain: Probe = {
  name: probeNames.backAgain,
  mustHold: `no request fails, and it is used again within ${limitMs} ms`,
  async run(fleet) {
    const afterMs: number[] = [];
    let metIt = 0;
    for (let round = 0; round < form.rounds; round++) {
      const { by, result: outcomes } = await fleet.grown([{ at: [gatewayId], name: 'switchyard_failovers_total' }], async () => {
        await fleet.kill('chat-1');
        return manyTimes(requests, 1, async () => (await fleet.stream(prompt(20), 3)).outcome);
      });
      expect(outcomes.filter((outcome) => outcome !== 'exact')).toEqual([]);
      metIt += by[0]!;
      const asking = keepAsking(fleet, 4);
      const backMs = await fleet.restart('chat-1');
      afterMs.push((await fleet.usedAgain('chat-1', backMs)) - backMs);
      await asking.end();
      await fleet.whole();
    }
    const ms = median(afterMs);
    const met = Math.round(metIt / form.rounds);
    return {
      says: `after ${Math.round(ms)} ms; ${met} of the ${requests} met it dead, none failed`,
      timings: [{ what: 'used again after', ms, limitMs }],
    };
  },
};
