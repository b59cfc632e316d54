import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nextRestart, restartBackoff } from './backoff.ts';

describe('back-off of restarts', () => {
  test('doubles with every crash in a row and stops growing', () => {
    const delays: number[] = [];
    let crashes = 0;
    for (let round = 0; round < 9; round += 1) {
      const next = nextRestart(restartBackoff, crashes, 100);
      crashes = next.crashes;
      delays.push(next.delayMs);
    }
    expect(delays).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  });

  test('a process that ran for a while begins anew', () => {
    expect(nextRestart(restartBackoff, 12, restartBackoff.settledMs)).toEqual({ crashes: 1, delayMs: 500 });
  });

  test('is always within its bounds', () => {
    fc.assert(
      fc.property(fc.nat(1_000_000), fc.nat(10_000_000), (crashes, ranMs) => {
        const { delayMs } = nextRestart(restartBackoff, crashes, ranMs);
        expect(delayMs).toBeGreaterThanOrEqual(restartBackoff.firstMs);
        expect(delayMs).toBeLessThanOrEqual(restartBackoff.maxMs);
      }),
    );
  });
});
