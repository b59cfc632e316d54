import { expect, test } from 'vitest';
import { currentDelayMs, isTooSlow, sawDelay, startPace } from './pace.ts';

const limits = { maxDelayMs: 500, halfLifeMs: 10_000 };

test('one slow start is not slowness, several are', () => {
  const once = sawDelay(startPace(0), 1_500, 0, limits);
  expect(isTooSlow(once, 0, limits)).toBe(false);
  expect(isTooSlow(sawDelay(once, 1_500, 0, limits), 0, limits)).toBe(true);
});
test('slowness is forgotten, so that planning tries again', () => {
  const slow = { delayMs: 1_600, seenAtMs: 0 };
  expect(isTooSlow(slow, 10_000, limits)).toBe(true);
  expect(currentDelayMs(slow, 20_000, limits)).toBe(400);
  expect(isTooSlow(slow, 20_000, limits)).toBe(false);
});
