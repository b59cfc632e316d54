// Properties of the ledger. Examples, and that Redis does the same, are in test/conformance/store.test.ts.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LedgerLimits } from '../ports/store.ts';
import { emptyLedger, giveBack, ledgerState, reserve, settle, settledMemoryMs } from './ledger.ts';

const limits = fc.record({
  requestsPerMinute: fc.constantFrom(0, 1, 7, 1000),
  tokensPerMinute: fc.constantFrom(0, 100, 12_345),
  budgetMicros: fc.constantFrom(0, 1000, 50_000),
});
const step = fc.oneof(
  fc.record({ type: fc.constant('wait' as const), ms: fc.double({ min: 0, max: 90_000, noNaN: true }) }),
  fc.record({
    type: fc.constant('reserve' as const),
    id: fc.integer({ min: 0, max: 40 }),
    tokens: fc.integer({ min: 0, max: 300 }),
    costMicros: fc.integer({ min: 0, max: 900 }),
    ttlMs: fc.constantFrom(1000, 60_000),
  }),
  fc.record({ type: fc.constant('settle' as const), id: fc.integer({ min: 0, max: 40 }), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
);

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function replay(history: readonly Step[], under: LedgerLimits, look: (nowMs: number) => void, ledger = emptyLedger()) {
  let nowMs = 1_700_000_000_000;
  const amounts = new Map<string, { tokens: number; costMicros: number }>();
  const granted: { id: string; nowMs: number }[] = [];
  for (const each of history) {
    if (each.type === 'wait') nowMs += each.ms;
    else if (each.type === 'reserve') {
      const requestId = `r${each.id}`;
      const isNew = !ledger.open.has(requestId) && !ledger.settled.has(requestId);
      const result = reserve(ledger, { ...each, keyId: 'k', requestId, limits: under }, nowMs);
      if (result.ok && isNew) {
        amounts.set(requestId, each);
        granted.push({ id: requestId, nowMs });
      }
    } else {
      const requestId = `r${each.id}`;
      const amount = ledger.open.has(requestId) ? amounts.get(requestId) : undefined;
      if (amount)
        settle(ledger, requestId, { tokens: Math.floor(amount.tokens * each.share), costMicros: Math.floor(amount.costMicros * each.share) }, nowMs);
    }
    look(nowMs);
  }
  return granted;
}

describe('ledger', () => {
  test('never promises or spends more than the budget when settlements stay within their reservations', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), limits, (history, under) => {
        const ledger = emptyLedger();
        replay(
          history,
          under,
          () => {
            if (under.budgetMicros > 0) expect(ledger.spentMicros + ledger.reservedMicros).toBeLessThanOrEqual(under.budgetMicros);
            const open = [...ledger.open.values()].reduce((sum, reservation) => sum + reservation.costMicros, 0);
            expect(ledger.reservedMicros).toBeCloseTo(open, 6);
          },
          ledger,
        );
      }),
    );
  });

  test('grants at most two minutes of requests in any minute', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (history) => {
        const under = { requestsPerMinute: 7, tokensPerMinute: 0, budgetMicros: 0 };
        const granted = replay(history, under, () => {});
        for (const { nowMs } of granted) {
          expect(granted.filter((each) => each.nowMs >= nowMs && each.nowMs < nowMs + 60_000).length).toBeLessThanOrEqual(14);
        }
      }),
    );
  });

  test('after retry-after the same request is granted, when nothing else happened', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), limits, fc.integer({ min: 0, max: 300 }), (history, under, tokens) => {
        const ledger = emptyLedger();
        let nowMs = 0;
        replay(history, under, (ms) => (nowMs = ms), ledger);
        const wanted = { keyId: 'k', requestId: 'probe', tokens, costMicros: 0, limits: under, ttlMs: 1000 };
        for (let attempt = 0; attempt < 3; attempt++) {
          const result = reserve(ledger, wanted, nowMs);
          if (result.ok) return;
          // Each limit may be hit once: the first one named hides the next.
          if (result.exceeded === 'budget') return;
          nowMs += result.retryAfterMs + 1e-3;
        }
        expect.unreachable('three refusals');
      }),
    );
  });

  test('what a request took comes back when it used nothing', () => {
    fc.assert(
      fc.property(limits, fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: 500 }), (under, tokens, costMicros) => {
        const ledger = emptyLedger();
        reserve(ledger, { keyId: 'k', requestId: 'r', tokens, costMicros, limits: under, ttlMs: 1000 }, 0);
        settle(ledger, 'r', { tokens: 0, costMicros: 0 }, 0);
        const state = ledgerState(ledger, under, 0);
        expect(state).toMatchObject({ spentMicros: 0, reservedMicros: 0, remainingTokens: under.tokensPerMinute });
      }),
    );
  });

  const turn = fc.record({
    type: fc.constantFrom('reserve', 'giveBack', 'settle', 'wait'),
    id: fc.integer({ min: 0, max: 5 }),
    amount: fc.integer({ min: 0, max: 400 }),
  });

  test('whatever was given back before, between or after, everything that was used is spent once and nothing stays reserved', () => {
    fc.assert(
      fc.property(fc.array(turn, { maxLength: 60 }), (history) => {
        const ledger = emptyLedger();
        const under = { requestsPerMinute: 0, tokensPerMinute: 10_000, budgetMicros: 0 };
        const used = new Map<number, number>();
        let nowMs = 0;
        for (const { type, id, amount } of history) {
          const requestId = `r${id}`;
          if (type === 'wait') nowMs += amount;
          else if (type === 'reserve') reserve(ledger, { keyId: 'k', requestId, tokens: 100, costMicros: 500, limits: under, ttlMs: 1_000 }, nowMs);
          else if (type === 'giveBack') giveBack(ledger, requestId, nowMs);
          else {
            settle(ledger, requestId, { tokens: amount, costMicros: amount }, nowMs);
            if (!used.has(id)) used.set(id, amount);
          }
          expect(ledger.reservedMicros).toBe(ledger.open.size * 500);
        }
        expect(ledger.spentMicros).toBe([...used.values()].reduce((sum, amount) => sum + amount, 0));
        expect(ledgerState(ledger, under, nowMs + 120_000)).toMatchObject({ reservedMicros: 0, remainingTokens: 10_000 });
      }),
    );
  });

  test('settled ids are forgotten after their time, so the ledger does not grow for ever', () => {
    const ledger = emptyLedger();
    for (let n = 0; n < 100; n++) settle(ledger, `r${n}`, { tokens: 1, costMicros: 1 }, n);
    ledgerState(ledger, { requestsPerMinute: 0, tokensPerMinute: 0, budgetMicros: 0 }, settledMemoryMs + 49);
    expect(ledger.settled.size).toBe(50);
  });
});
