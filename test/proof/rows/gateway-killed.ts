// kill -9 of one of two gateways.
import { expect } from 'vitest';
import { eventually } from '../../support/eventually.ts';
import { form } from '../form.ts';
import { settle, startLoad, streaming } from '../load.ts';
import type { Row } from '../row.ts';

/** From the death of a gateway to the end of its work on the engines. */
const stopWithinMs = 5_000;

const gatewayKilled: Row = {
  fault: 'kill -9 a gateway, which has a replica',
  mustHold: `its work stops on the engines within ${stopWithinMs / 1000} s, the other one serves, no budget stays reserved`,
  limitMs: 120_000 + form.rounds * 60_000,
  async run(world) {
    const other = startLoad(world, { clients: 6, outputTokens: 60, gateways: [1] });
    const stops: number[] = [];
    let cut = 0;
    for (let round = 0; round < form.rounds; round++) {
      // So long that none of them ends by itself meanwhile.
      const doomed = startLoad(world, { clients: 10, outputTokens: 4_000, gateways: [0] });
      await eventually('the first gateway streams', 60_000, async () => {
        const rows = (await world.running()).filter((row) => row.gateway === 'gateway-1' && row.tokens > 2);
        return { ok: rows.length === 10, seen: rows.length };
      });
      const ending = doomed.end();
      await world.fleet.kill('gateway-1');
      const killedMs = performance.now();
      await eventually('the engines have stopped its work', stopWithinMs, async () => {
        const instances = await world.fleet.instances();
        const running = instances.reduce((sum, row) => sum + row.running + row.queued, 0);
        return { ok: running <= 6, seen: running };
      });
      stops.push(performance.now() - killedMs);
      const results = await ending;
      cut += results.filter((result) => result.outcome !== 'exact').length;
      expect(results.filter(({ deviation }) => deviation.lost + deviation.repeated + deviation.misplaced > 0)).toEqual([]);
      world.fleet.start('gateway-1');
      await world.fleet.whole();
    }
    await streaming(world, 4);
    const counts = await settle(world, other);
    return { ...counts, note: `${cut} clients cut off; engines stopped within ${Math.round(Math.max(...stops))} ms` };
  },
};

export const gatewayKilledRows: readonly Row[] = [gatewayKilled];
