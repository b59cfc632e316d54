// kill -9 of the agent, with its engine, while it computes the prompt.
import { expect } from 'vitest';
import { median } from '../../bench/harness/statistics.ts';
import { eventually } from '../../support/eventually.ts';
import { form } from '../form.ts';
import { probeNames } from '../others.ts';
import type { Probe } from '../probe.ts';
import { type InstanceId, type ProbeFleet, prompt } from '../probe-fleet.ts';

const promptTokens = 10_000;
const limitMs = 50;

async function ttftMs(fleet: ProbeFleet): Promise<number> {
  const result = await fleet.stream(prompt(promptTokens), 3);
  expect(result.outcome).toBe('exact');
  return result.ttftMs;
}

export const beforeFirstByte: Probe = {
  name: probeNames.beforeFirstByte,
  mustHold: `tried again, less than ${limitMs} ms added`,
  async run(fleet) {
    const usual: number[] = [];
    for (let round = 0; round < Math.max(2, form.rounds); round++) usual.push(await ttftMs(fleet));
    const addedMs: number[] = [];
    for (let round = 0; round < form.rounds; round++) {
      const askedMs = performance.now();
      const answer = fleet.stream(prompt(promptTokens), 3);
      let on: InstanceId | undefined;
      await eventually('an engine has it', 20_000, async () => {
        const [row] = await fleet.world.fleet.requests();
        on = row?.state === 'opening' ? (row.instance as InstanceId) : undefined;
        return { ok: on !== undefined, seen: row };
      });
      const killedMs = performance.now();
      const killed = fleet.kill(on!);
      const { outcome, detail, ttftMs: totalMs } = await answer;
      await killed;
      expect([outcome, detail]).toEqual(['exact', '']);
      // The other engine begins the prompt anew: what was computed here is lost whatever a gateway does.
      addedMs.push(totalMs - (killedMs - askedMs) - median(usual));
      await fleet.restart(on!);
      await fleet.whole();
    }
    const ms = Math.max(0, median(addedMs));
    return { says: `tried again, ${Math.round(ms)} ms added`, timings: [{ what: 'time added', ms, limitMs }] };
  },
};
