import { describe, expect, test } from 'vitest';
import type { Rng } from '../ports/rng.ts';
import { seededRng } from './seeded-rng.ts';
import { systemRng } from './system-rng.ts';

describe.each<[string, Rng]>([
  ['system', systemRng],
  ['seeded', seededRng(7)],
])('%s rng', (_name, rng) => {
  test('numbers are spread evenly over [0, 1)', () => {
    const buckets = new Array<number>(20).fill(0);
    const draws = 40_000;
    for (let n = 0; n < draws; n++) {
      const value = rng.next();
      expect(value >= 0 && value < 1).toBe(true);
      buckets[Math.floor(value * 20)]!++;
    }
    // Chi-squared with 19 degrees of freedom is above 60 once in some hundred thousand runs.
    const expected = draws / 20;
    expect(buckets.reduce((sum, seen) => sum + (seen - expected) ** 2 / expected, 0)).toBeLessThan(60);
  });

  test('ids have their shape and differ', () => {
    const ids = new Set(Array.from({ length: 10_000 }, () => rng.id('req-')));
    expect(ids.size).toBe(10_000);
    for (const id of ids) expect(id).toMatch(/^req-[0-9a-z]{20}$/);
  });

  test('seeds are 32-bit unsigned integers', () => {
    for (let n = 0; n < 1000; n++) {
      const seed = rng.seed();
      expect(seed >>> 0).toBe(seed);
    }
  });
});

describe('seeded rng', () => {
  const draw = (seed: number) => {
    const rng = seededRng(seed);
    return [rng.next(), rng.seed(), rng.id('x-')];
  };

  test('one seed gives one sequence', () => {
    expect(draw(42)).toEqual(draw(42));
    // Recorded from this generator: another sequence would change every run that was kept by its seed.
    expect(draw(42)).toEqual([0.35352955432608724, 271_658_881, 'x-hcwzqe01dfvzfvx3er60']);
  });

  test('neighbouring seeds give unlike first numbers', () => {
    const firsts = Array.from({ length: 1000 }, (_, seed) => seededRng(seed).next());
    expect(new Set(firsts).size).toBe(1000);
    const mean = firsts.reduce((sum, value) => sum + value, 0) / 1000;
    expect(Math.abs(mean - 0.5)).toBeLessThan(0.05);
  });
});
