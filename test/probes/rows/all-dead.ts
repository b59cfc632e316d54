// kill -9 of every engine: what readiness says, and what a request gets.
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'vitest';
import { median } from '../../bench/harness/statistics.ts';
import { form } from '../form.ts';
import { probeNames } from '../others.ts';
import type { Probe } from '../probe.ts';
import { fastInstance, type InstanceId, instances, model, type ProbeFleet } from '../probe-fleet.ts';

const everyone: readonly InstanceId[] = [...instances, fastInstance];
const limitMs = 1_000;
const givenUpMs = 20_000;

/** The reason, when readiness says no. */
async function whyNotReady(fleet: ProbeFleet): Promise<string | undefined> {
  const response = await fetch(`${fleet.url}/readiness`);
  const { reason } = (await response.json()) as { reason?: string };
  return response.status === 503 ? reason : undefined;
}

export const allDead: Probe = {
  name: probeNames.allDead,
  mustHold: `within ${limitMs} ms, with the reason`,
  async run(fleet) {
    const afterMs: number[] = [];
    let why: string | undefined;
    for (let round = 0; round < form.rounds; round++) {
      expect(await whyNotReady(fleet)).toBeUndefined();
      const killedMs = performance.now();
      await fleet.kill(...everyone);
      for (why = undefined; why === undefined && performance.now() - killedMs < givenUpMs; await pause(2)) why = await whyNotReady(fleet);
      afterMs.push(performance.now() - killedMs);
      for (const id of everyone) expect(why).toContain(id);
      const refused = await fleet.post({ body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello' }] }) }).answer;
      expect(refused?.status).toBe(503);
      expect(Number(refused?.headers['retry-after-ms'])).toBeGreaterThan(0);
      await Promise.all(everyone.map((id) => fleet.restart(id)));
      await fleet.whole();
    }
    const ms = median(afterMs);
    return { says: `after ${Math.round(ms)} ms: "${why}"`, timings: [{ what: 'readiness said so after', ms, limitMs }] };
  },
};
