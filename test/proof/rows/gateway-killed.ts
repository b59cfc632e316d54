// kill -9 of one of two gateways, whose requests fill a pool for which the other one's wait.
import { expect } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { form } from '../form.ts';
import { progress, settle, startLoad } from '../load.ts';
import type { Row } from '../row.ts';
import { smallModel, smallRunning } from '../world.ts';

/** From the death of a gateway to the end of its work on the engines. */
const stopWithinMs = 5_000;
const waiting = 4;

const gatewayKilled: Row = {
  fault: 'kill -9 a gateway, which has a replica',
  mustHold: `its work stops on the engines within ${stopWithinMs / 1000} s, the other one serves in its place, what was used is paid, no budget stays reserved`,
  limitMs: 120_000 + form.rounds * 120_000,
  async run(world) {
    const stops: number[] = [];
    const served: Awaited<ReturnType<typeof settle>>[] = [];
    let cut = 0;
    for (let round = 0; round < form.rounds; round++) {
      // So long that none of them ends by itself meanwhile.
      const doomed = startLoad(world, { clients: smallRunning, outputTokens: 3_000, gateways: [0], model: smallModel });
      await eventually('the first gateway fills the pool', 60_000, async () => {
        const rows = (await world.running()).filter((row) => row.gateway === 'gateway-1' && row.tokens > 2);
        return { ok: rows.length === smallRunning, seen: rows.length };
      });
      const ending = doomed.end();
      const other = startLoad(world, { clients: waiting, outputTokens: 60, gateways: [1], model: smallModel });
      await eventually('requests of the second one wait', 30_000, async () => {
        const rows = (await world.fleet.requests()).filter((row) => row.gateway === 'gateway-2');
        return { ok: rows.length === waiting, seen: rows };
      });
      await world.fleet.kill('gateway-1');
      const killedMs = performance.now();
      await eventually('the engines have stopped its work', stopWithinMs, async () => {
        const instances = await world.fleet.instances();
        const running = instances.reduce((sum, row) => sum + row.running + row.queued, 0);
        return { ok: running <= waiting, seen: running };
      });
      stops.push(performance.now() - killedMs);
      const results = await ending;
      cut += results.filter((result) => result.outcome !== 'exact').length;
      expect(results.filter(({ deviation }) => deviation.lost + deviation.repeated + deviation.misplaced > 0)).toEqual([]);
      await progress(other, 2 * waiting);
      const cutOff = results.filter(({ outcome, tokens }) => outcome !== 'exact' && tokens > 0);
      await eventually('its agents tell the ends of its requests', 30_000, () => {
        const untold = cutOff.filter(({ requestId, tokens }) => (world.ends.get(requestId)?.[0]?.outputTokens ?? 0) < tokens);
        return { ok: untold.length === 0, seen: untold.map(({ requestId, tokens }) => [requestId, tokens, world.ends.get(requestId)]) };
      });
      world.fleet.start('gateway-1');
      await world.fleet.whole();
      served.push(await settle(world, other));
    }
    const total = (count: 'requests' | 'tokens') => served.reduce((sum, counts) => sum + counts[count], 0);
    return {
      ...served.at(-1),
      requests: total('requests'),
      tokens: total('tokens'),
      note: `${cut} clients cut off; engines stopped within ${Math.round(Math.max(...stops))} ms`,
    };
  },
};

export const gatewayKilledRows: readonly Row[] = [gatewayKilled];
