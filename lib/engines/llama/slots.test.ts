import { expect, test } from 'vitest';
import { Slots } from './slots.ts';

test('a prompt goes where most of it is cached already', () => {
  const slots = new Slots(3);
  const [a, b] = [slots.take('a', []), slots.take('b', [])];
  slots.release(a!, [1, 2, 3, 4]);
  slots.release(b!, [1, 2, 9]);
  expect(slots.take('c', [1, 2, 9, 9])).toBe(b);
  expect(slots.take('d', [1, 2, 9, 9])).toBe(a);
});

test('a prompt that begins like nothing takes an empty slot, then the one that was freed first', () => {
  const slots = new Slots(3);
  const taken = ['a', 'b'].map((owner) => slots.take(owner, [])!);
  slots.release(taken[1]!, [5, 6]);
  slots.release(taken[0]!, [7, 8]);
  expect(slots.take('c', [1])).toBe(2);
  expect(slots.take('d', [1])).toBe(taken[1]);
});

test('a slot in use is given to nobody else', () => {
  const slots = new Slots(2);
  slots.take('a', [1]);
  slots.take('b', [1]);
  expect([slots.take('c', [1]), slots.free]).toEqual([undefined, 0]);
});

test('what is cached is counted in whole blocks, and is gone with the engine', () => {
  const slots = new Slots(2);
  slots.release(
    slots.take('a', [])!,
    Array.from({ length: 40 }, (_, id) => id),
  );
  expect(slots.cachedBlocks(16)).toBe(2);
  slots.clear();
  expect([slots.cachedBlocks(16), slots.free]).toEqual([0, 2]);
});
