// kill -9 of the agent, with its engine, in the middle of an answer.
import { expect } from 'vitest';
import { median } from '../../bench/harness/statistics.ts';
import { eventually } from '../../support/eventually.ts';
import { form } from '../form.ts';
import { probeNames } from '../others.ts';
import type { Probe } from '../probe.ts';
import { type InstanceId, prompt } from '../probe-fleet.ts';

const outputTokens = 150;

export const midStream: Probe = {
  name: probeNames.midStream,
  mustHold: 'the stream goes on, token-exact',
  async run(fleet) {
    const gapsMs: number[] = [];
    for (let round = 0; round < form.rounds; round++) {
      const answer = fleet.stream(prompt(50), outputTokens);
      let on: InstanceId | undefined;
      await eventually('it is in mid-stream', 20_000, async () => {
        const [row] = await fleet.world.running();
        on = row && row.tokens >= 10 ? (row.instance as InstanceId) : undefined;
        return { ok: on !== undefined, seen: row };
      });
      await fleet.kill(on!);
      const { outcome, detail, longestGapMs } = await answer;
      expect([outcome, detail]).toEqual(['exact', '']);
      gapsMs.push(longestGapMs);
      await fleet.restart(on!);
      await fleet.whole();
    }
    return { says: `the stream goes on, token-exact, after a pause of ${Math.round(median(gapsMs))} ms`, timings: [] };
  },
};
