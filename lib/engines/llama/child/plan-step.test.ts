import { expect, test } from 'vitest';
import { type Pending, planStep } from './plan-step.ts';

const decode = (id: number) => ({ id, tokens: 1, generates: true, foresees: false });
const prompt = (id: number, tokens: number) => ({ id, tokens, generates: true, foresees: false });
const follower = (id: number, tokens: number, foresees = false) => ({ id, tokens, generates: false, foresees });

test('every sequence that decodes gets its token, whatever else there is', () => {
  const pending = [prompt(1, 500), ...Array.from({ length: 40 }, (_, index) => decode(index + 2))];
  const items = planStep(pending, 32);
  expect(items.filter((item) => item.samples).map((item) => item.id)).toEqual(Array.from({ length: 40 }, (_, index) => index + 2));
  expect(items.at(-1)).toEqual({ id: 1, tokens: 32, samples: false });
});

test('prompts share a chunk in the order in which they came, and the last token of one gives the first of its answer', () => {
  expect(planStep([prompt(1, 20), prompt(2, 50)], 32)).toEqual([
    { id: 1, tokens: 20, samples: true },
    { id: 2, tokens: 12, samples: false },
  ]);
});

test('what follows another engine comes before prompts, and gives no tokens', () => {
  expect(planStep([prompt(1, 100), follower(2, 3)], 32)).toEqual([
    { id: 2, tokens: 3, samples: false },
    { id: 1, tokens: 29, samples: false },
  ]);
});

test('one that foresees gives the token after those that it knows, once all of them are computed', () => {
  expect(planStep([follower(1, 5, true), follower(2, 40, true)], 32)).toEqual([
    { id: 1, tokens: 5, samples: true },
    { id: 2, tokens: 27, samples: false },
  ]);
});

test('what was taken over gets its first token before anything follows', () => {
  expect(planStep([follower(1, 12), prompt(2, 3)], 32)).toEqual([
    { id: 2, tokens: 3, samples: true },
    { id: 1, tokens: 8, samples: false },
  ]);
});

test('followers take the whole chunk when nobody waits, else a quarter of it or half of what they are behind', () => {
  const followed = (others: readonly Pending[], ...behind: number[]) =>
    planStep([...others, ...behind.map((tokens, index) => follower(index, tokens))], 32)
      .slice(others.length)
      .map(({ tokens }) => tokens);
  expect(followed([], 40)).toEqual([32]);
  expect(followed([decode(9)], 12)).toEqual([8]);
  expect(followed([decode(9)], 20, 20)).toEqual([20]);
  expect(followed([decode(9)], 5, 5, 5)).toEqual([5, 3]);
  expect(followed([decode(9)], 100)).toEqual([32]);
});

test('with nothing to compute there is no step', () => {
  expect(planStep([follower(1, 0), prompt(2, 0)], 32)).toEqual([]);
});
