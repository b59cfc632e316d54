import { describe, expect, test } from 'vitest';
import { keptAfterMs } from '../../core/admission/repeat-from.ts';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { requestsDone } from '../../lib/contracts.ts';
import { createMemoryWorld } from '../../lib/run/memory-ports.ts';
import type { MemoryStore } from '../../lib/store/memory-store.ts';
import type { RequestDone } from '../../proto/gen/messages.ts';
import { settleAgain } from './settling-again.ts';

const seconds = 1_000;

/** A process that settles again, over a store that can be away. */
function aWorld() {
  const { clock, ports } = createMemoryWorld();
  const mine = ports('admission-1');
  const store = mine.store as MemoryStore;
  const settled: string[] = [];
  let failing = false;
  const begin = () =>
    settleAgain({
      ...mine,
      settle: async (ended) => {
        if (failing || !store.connected()) throw new SwitchyardError('store_unavailable', 'away');
        settled.push(...ended.map(({ requestId }) => requestId));
      },
    });
  const end = async (requestId: string) => {
    const done = { requestId, pool: 'chat', keyId: 'k' } as RequestDone;
    const recording = mine.bus.record(requestsDone, ['chat'], { ended: [{ ...emptyEnd, ...done }] }, { id: requestId });
    await clock.advance(1);
    await recording;
  };
  const lose = async (awayMs: number) => {
    store.setOutage(true);
    await clock.advance(awayMs);
    store.setOutage(false);
    await clock.advance(100);
  };
  const take = () => settled.splice(0);
  return { clock, store, begin, end, lose, take, fail: (on: boolean) => (failing = on) };
}

const emptyEnd: RequestDone = {
  ...{ requestId: '', pool: '', model: 'm', keyId: '', instanceId: '', epoch: 0, outcome: 'completed', code: '', promptTokens: 1 },
  ...{ cachedTokens: 0, outputTokens: 1, arrivalMs: 0, firstTokenMs: 0, endMs: 0, migrations: 0, failovers: 0 },
  ...{ sloClass: 'standard', gatewayId: 'g', traceId: '' },
};

describe('ended requests are settled once more', () => {
  test('at the start: the newest, not those of long ago', async () => {
    const { clock, begin, end, take } = aWorld();
    await end('old');
    await clock.advance(2 * 3_600 * seconds);
    await end('new');
    const settling = begin();
    await clock.advance(100);
    expect(take()).toEqual(['new']);
    await settling.stop();
  });

  test('when the store comes back: those that ended shortly before the loss and since, once', async () => {
    const { clock, begin, end, lose, take } = aWorld();
    await end('kept');
    const settling = begin();
    await clock.advance(keptAfterMs + seconds);
    await end('shortly before');
    take();
    await lose(40 * seconds);
    expect(take()).toEqual(['shortly before']);
    await clock.advance(600 * seconds);
    expect(take()).toEqual([]);
    await settling.stop();
  });

  test('until it has worked, however often the store goes away meanwhile, and nothing is left out', async () => {
    const { clock, begin, end, lose, take, fail } = aWorld();
    const settling = begin();
    await clock.advance(100);
    await end('r1');
    fail(true);
    await lose(5 * seconds);
    await clock.advance(90 * seconds);
    await end('r2');
    await lose(5 * seconds);
    expect(take()).toEqual([]);
    fail(false);
    await clock.advance(3 * seconds);
    expect(take()).toEqual(['r1', 'r2']);
    await settling.stop();
  });

  test('stopped while the store is away, it ends', async () => {
    const { clock, store, begin } = aWorld();
    store.setOutage(true);
    const settling = begin();
    await clock.advance(5 * seconds);
    await settling.stop();
  });
});
