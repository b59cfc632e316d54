// Many clients spend one budget through every gateway and every pool, and so through several admission processes.
import { expect } from 'vitest';
import type { ReplayResult } from '../../../cli/replay/send.ts';
import type { KeyRow } from '../../../lib/operator/types.ts';
import { connectStreams } from '../../integration/live-streams.ts';
import { eventually } from '../../support/eventually.ts';
import { form } from '../form.ts';
import { countsOf } from '../load.ts';
import type { Row } from '../row.ts';
import { model, price, smallModel } from '../world.ts';

const clients = 64;
const outputTokens = 20;
const budgetMicros = 30_000;
const promptCharacters = 400;
/** The most that one request may cost, a token for each character of its prompt: what admission reserves for it. */
const reserveMicros = promptCharacters * price.inputMicros + outputTokens * price.outputMicros;

const oneBudget: Row = {
  fault: `${clients} clients and 3 admission replicas on one budget, an owner killed meanwhile`,
  mustHold: "overshoot at most one request's reserve",
  limitMs: 60_000 + form.rounds * 60_000,
  async run(world) {
    const results: ReplayResult[] = [];
    const overshoots: number[] = [];
    for (let round = 0; round < form.rounds; round++) {
      const key = await world.fleet.client('proof').post<KeyRow & { secret: string }>('/keys', { name: `budget-${round}`, budgetMicros });
      const doors = world.fleet.gatewayUrls.map((url) => connectStreams(url, key.secret));
      let highest = 0;
      let spending = true;
      const watching = (async () => {
        while (spending) {
          const { spentMicros, reservedMicros } = await world.ledger(key.id);
          highest = Math.max(highest, spentMicros + reservedMicros);
        }
      })();
      const roundResults: ReplayResult[] = [];
      const spend = async (number: number) => {
        for (let turn = 0; ; turn++) {
          const prompt = `Budget ${round}, client ${number}, turn ${turn}: `.padEnd(promptCharacters, 'x ');
          const asked = { model: number % 4 === 0 ? smallModel : model, prompt, outputTokens, sloClass: 'default' };
          const result = await doors[(number + turn) % doors.length]!.open(asked);
          roundResults.push(result);
          if (result.outcome !== 'exact') return;
        }
      };
      const all = Promise.all(Array.from({ length: clients }, (_, number) => spend(number)));
      const owner = (await world.services()).find(({ owns }) => owns.some((owned) => owned.startsWith('queue/chat@')))!;
      await world.fleet.kill(owner.id);
      await all;
      world.fleet.start(owner.id);
      spending = false;
      await watching;
      await eventually('all is settled', 60_000, async () => {
        const { reservedMicros } = await world.ledger(key.id);
        return { ok: reservedMicros === 0, seen: reservedMicros };
      });
      const { spentMicros } = await world.ledger(key.id);
      await Promise.all(doors.map((door) => door.close()));
      expect(Math.max(highest, spentMicros)).toBeLessThanOrEqual(budgetMicros + reserveMicros);
      // And not refused long before it is spent.
      expect(spentMicros).toBeGreaterThan(budgetMicros - 2 * reserveMicros);
      const strange = roundResults.filter((result) => result.outcome !== 'exact' && !result.detail.includes('insufficient_quota'));
      expect(strange).toEqual([]);
      overshoots.push(Math.max(highest, spentMicros) - budgetMicros);
      results.push(...roundResults);
      await world.fleet.whole();
    }
    await world.nothingIsHeld();
    return {
      ...countsOf(results.filter((result) => result.outcome === 'exact')),
      requests: results.length,
      refused: results.filter((result) => result.outcome !== 'exact').length,
      leftReserved: 0,
      note: `spent and reserved together ended ${overshoots.map((micros) => (micros <= 0 ? `${-micros} below` : `${micros} above`)).join(', ')} the budget of ${budgetMicros}, one request reserves ${reserveMicros}`,
    };
  },
};

export const oneBudgetRows: readonly Row[] = [oneBudget];
