import { describe, expect, it } from 'vitest';
import { percentile, summarise } from './percentiles.ts';

describe('percentiles', () => {
  it('takes the nearest rank', () => {
    const values = Array.from({ length: 100 }, (_, index) => index + 1);
    expect([0.01, 0.5, 0.95, 0.99, 1].map((share) => percentile(values, share))).toEqual([1, 50, 95, 99, 100]);
  });

  it('summarises unsorted values', () => {
    expect(summarise([3, 1, 2])).toEqual({ count: 3, mean: 2, p50: 2, p90: 3, p95: 3, p99: 3, max: 3 });
  });

  it('has no percentile of nothing', () => {
    expect(percentile([], 0.5)).toBeNaN();
  });
});
