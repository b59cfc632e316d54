import fc from 'fast-check';
import { expect, test } from 'vitest';
import { earned, mayRetry, newBudget, spent } from './retry-budget.ts';

test('however often engines turn requests away: at most a burst and a share of the requests are retries', () => {
  const limits = fc.record({ share: fc.double({ min: 0, max: 2, noNaN: true }), burst: fc.double({ min: 0, max: 50, noNaN: true }) });
  fc.assert(
    fc.property(limits, fc.array(fc.nat(8), { maxLength: 200 }), ({ share, burst }, turnedAway) => {
      let budget = newBudget({ share, burst });
      let retries = 0;
      for (const times of turnedAway) {
        budget = earned(budget);
        for (let time = 0; time < times; time++) {
          if (!mayRetry(budget)) break;
          budget = spent(budget);
          retries++;
        }
        expect(budget.left).toBeGreaterThanOrEqual(0);
      }
      expect(retries).toBeLessThanOrEqual(burst + share * turnedAway.length + 1e-6);
    }),
  );
});

test('a budget that is spent comes back with the requests', () => {
  let budget = newBudget({ share: 0.25, burst: 1 });
  budget = spent(budget);
  for (let request = 0; request < 3; request++) budget = earned(budget);
  expect(mayRetry(budget)).toBe(false);
  budget = earned(budget);
  expect(mayRetry(budget)).toBe(true);
});
