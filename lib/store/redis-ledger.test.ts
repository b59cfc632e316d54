import { beforeEach, describe, expect, test } from 'vitest';
import { VirtualClock } from '../clock/virtual-clock.ts';
import { createRedisLedger, type LedgerQuestion, questionsPerCall } from './redis-ledger.ts';

describe('a ledger in Redis', () => {
  /** Each: the key, and the request ids in order. */
  let calls: { key: string; requestIds: string[] }[];
  let failure: Error | undefined;
  let ask: (question: LedgerQuestion) => ReturnType<ReturnType<typeof createRedisLedger>>;

  beforeEach(() => {
    calls = [];
    failure = undefined;
    const redis = {
      async evalsha(_sha: string, count: number, ...rest: string[]) {
        const questions = rest.slice(count + 2);
        const requestIds = questions.filter((_, index) => index % 8 === 4);
        calls.push({ key: rest[0]!, requestIds });
        if (failure) throw failure;
        return requestIds.map((id) => `ok 0 1 2 3 4 5 ${id.slice(1)}`);
      },
    };
    const ledger = createRedisLedger(new VirtualClock());
    ask = (question) => ledger(redis as never, question);
  });

  function settle(n: number, keyId = 'a') {
    return ask({ operation: 'settle', keyId, requestId: `r${n}` });
  }

  test('is asked once for what one turn asks of a key, and each gets its own answer', async () => {
    const answers = await Promise.all([settle(1), settle(2, 'b'), settle(3), settle(4)]);
    expect(answers.map(({ state }) => state.reservedMicros)).toEqual([1, 2, 3, 4]);
    expect(calls).toEqual([
      { key: 'sy:ledger:{a}', requestIds: ['r1', 'r3', 'r4'] },
      { key: 'sy:ledger:{b}', requestIds: ['r2'] },
    ]);
    await settle(5);
    expect(calls.at(-1)!.requestIds).toEqual(['r5']);
  });

  test('is asked again beyond what one call may hold, in order', async () => {
    const answers = await Promise.all(Array.from({ length: questionsPerCall + 2 }, (_, n) => settle(n)));
    expect(answers.map(({ state }) => state.reservedMicros)).toEqual(answers.map((_, n) => n));
    expect(calls.map(({ requestIds }) => requestIds.length)).toEqual([questionsPerCall, 2]);
  });

  test('fails for everybody who was in the call, and for nobody after it', async () => {
    failure = new Error('gone');
    const results = await Promise.allSettled([settle(1), settle(2)]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    failure = undefined;
    await expect(settle(3)).resolves.toMatchObject({ outcome: 'ok' });
  });
});
