// Every engine answers 429, then every engine answers 503: how often engines are tried, and what clients are told.
import { expect } from 'vitest';
import { gatewaySchema } from '../../../services/gateway/config.ts';
import { form } from '../form.ts';
import { probeNames } from '../others.ts';
import type { Probe } from '../probe.ts';
import { agents, gatewayId, manyTimes, model, prompt } from '../probe-fleet.ts';

const { retryShare, retryBurst } = gatewaySchema.parse({ fleet: { pools: [{ id: 'p', models: ['m'], instances: 1, sim: { profile: 'p' } }] } });

export const allRefuse: Probe = {
  name: probeNames.allRefuse,
  mustHold: 'retries within the budget, and every client is told when to come back',
  async run(fleet) {
    const said: string[] = [];
    for (const status of form.refusing) {
      await fleet.pretend({ 'chat-1': { status }, 'chat-2': { status } });
      const counts = [
        { at: agents, name: 'switchyard_engine_opens_total' },
        { at: [gatewayId], name: 'switchyard_failovers_total', labels: 'reason="engine_' },
      ];
      const { by, result: answers } = await fleet.grown(counts, () =>
        manyTimes(form.requests, 8, () => {
          const body = JSON.stringify({ model, max_tokens: 3, stream: true, messages: [{ role: 'user', content: prompt(20) }] });
          return fleet.post({ body }).answer;
        }),
      );
      for (const answer of answers) {
        expect([answer?.status, answer?.headers['x-should-retry']]).toEqual([status, 'true']);
        expect(Number(answer?.headers['retry-after-ms'])).toBeGreaterThan(0);
      }
      const [attempts, retries] = by as [number, number];
      expect(attempts).toBeGreaterThan(0);
      expect(attempts).toBeLessThanOrEqual(form.requests + retryBurst + retryShare * form.requests);
      expect(retries).toBeLessThanOrEqual(retryBurst + retryShare * form.requests);
      said.push(`${attempts} attempts at engines for ${form.requests} requests (${status})`);
      // Well again, before they answer something else.
      await fleet.whole();
    }
    return { says: `${said.join(', ')}; all told when to come back`, timings: [] };
  },
};
