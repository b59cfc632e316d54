import { expect, test } from 'vitest';
import { seedAt, seedOfRequest } from './sampling.ts';

test('a position has its own seed, the same wherever the request runs', () => {
  const seeds = Array.from({ length: 10_000 }, (_, position) => seedAt(42, position));
  expect(new Set(seeds).size).toBeGreaterThan(9_990);
  expect(seeds.every((seed) => Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32)).toBe(true);
  expect(seedAt(42, 17)).toBe(seeds[17]);
});

test('neighbouring request seeds share no run of position seeds', () => {
  const first = new Set(Array.from({ length: 2_000 }, (_, position) => seedAt(1, position)));
  const shared = Array.from({ length: 2_000 }, (_, position) => seedAt(2, position)).filter((seed) => first.has(seed));
  expect(shared.length).toBeLessThan(3);
});

test('every bit of a position matters to half the bits of its seed', () => {
  let flipped = 0;
  for (let position = 0; position < 512; position++) {
    for (let bit = 0; bit < 10; bit++) {
      let difference = (seedAt(7, position) ^ seedAt(7, position ^ (1 << bit))) >>> 0;
      for (; difference !== 0; difference &= difference - 1) flipped++;
    }
  }
  expect(flipped / (512 * 10)).toBeGreaterThan(15);
  expect(flipped / (512 * 10)).toBeLessThan(17);
});

test('a request without a seed gets one from its id', () => {
  expect(seedOfRequest('r-1')).toBe(seedOfRequest('r-1'));
  expect(seedOfRequest('r-1')).not.toBe(seedOfRequest('r-2'));
});
