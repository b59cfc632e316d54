import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { keptAfterMs, oldestRepeatMs, type Repeat, repeatAfter } from './repeat-from.ts';

const minute = 60_000;

describe('from when on ended requests are settled once more', () => {
  test.each<[string, number, number, Repeat | undefined, number]>([
    ['some seconds before the loss', 100_000, 130_000, undefined, 100_000 - keptAfterMs],
    ['a loss long after the last one counts alone', 100 * minute, 100 * minute + 1, { fromMs: 1, atMs: 98 * minute }, 100 * minute - keptAfterMs],
    ['a loss soon after the last one repeats that too: its rest was being settled', 100_000, 100_050, { fromMs: 5_000, atMs: 80_000 }, 5_000],
    ['not longer ago than ids are surely remembered', minute, 10 * oldestRepeatMs, undefined, 9 * oldestRepeatMs],
  ])('%s', (_, lostAtMs, nowMs, last, fromMs) => {
    expect(repeatAfter(lostAtMs, nowMs, last)).toEqual({ fromMs, atMs: nowMs });
  });

  test('however often the store is lost, the time before each loss is covered and the oldest repeat is bounded', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ upMs: fc.nat(3 * minute), awayMs: fc.nat(10 * minute) }), { maxLength: 30 }), (losses) => {
        let nowMs = 10 * oldestRepeatMs;
        let last: Repeat | undefined;
        for (const { upMs, awayMs } of losses) {
          const lostAtMs = nowMs + upMs;
          nowMs = lostAtMs + awayMs;
          last = repeatAfter(lostAtMs, nowMs, last);
          expect(last.fromMs).toBeLessThanOrEqual(lostAtMs - keptAfterMs);
          expect(last.fromMs).toBeGreaterThanOrEqual(nowMs - oldestRepeatMs);
        }
      }),
    );
  });
});
