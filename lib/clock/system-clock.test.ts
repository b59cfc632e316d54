import { afterEach, expect, test, vi } from 'vitest';
import { systemClock } from './system-clock.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

test('tells Unix milliseconds, never going back, also when the wall clock is set', () => {
  const wall = Date.now();
  expect(Math.abs(systemClock.now() - wall)).toBeLessThan(1000);
  const real = Date.now.bind(Date);
  const before = systemClock.now();
  const set = vi.spyOn(Date, 'now').mockImplementation(() => real() - 3_600_000);
  expect(systemClock.now()).toBeGreaterThanOrEqual(before);
  expect(systemClock.now()).toBeLessThan(before + 1000);
  set.mockImplementation(() => real() + 60_000);
  expect(Math.abs(systemClock.now() - real() - 60_000)).toBeLessThan(1000);
});

test('a timer never runs before its time (real time)', async () => {
  for (let round = 0; round < 20; round++) {
    const delayMs = 0.3 + round * 0.37;
    const began = performance.now();
    await new Promise<void>((resolve) => systemClock.after(delayMs, resolve));
    expect(performance.now() - began).toBeGreaterThanOrEqual(delayMs);
  }
});

test('a cancelled timer does not run, and a delay above what Node can count does not run at once (real time)', async () => {
  let runs = 0;
  const long = systemClock.after(2 ** 33, () => runs++);
  systemClock.after(1, () => runs++)();
  await new Promise<void>((resolve) => systemClock.after(5, resolve));
  long();
  long();
  expect(runs).toBe(0);
});
