import { expect, test } from 'vitest';
import { maxRemembered, NewestEpochs } from './newest-epochs.ts';

const nobody = () => false;
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

test('the newest epoch of a request is the one that was heard last', () => {
  let epochs = NewestEpochs.none;
  for (const epoch of upTo(500)) epochs = epochs.with(`r${epoch % 3}`, epoch, nobody);
  expect([epochs.get('r0'), epochs.get('r1'), epochs.get('r2'), epochs.get('r3')]).toEqual([498, 499, 497, undefined]);
  expect(epochs.last).toBe('r1');
});

test('what was is not changed by what comes after', () => {
  const one = NewestEpochs.none.with('r', 1, nobody);
  const two = one.with('r', 2, nobody);
  expect([NewestEpochs.none.get('r'), one.get('r'), two.get('r')]).toEqual([undefined, 1, 2]);
});

test('the oldest are forgotten, those that run are not', () => {
  let epochs = NewestEpochs.none;
  const runs = (requestId: string) => requestId === 'r5' || requestId === 'r70';
  for (const index of upTo(5 * maxRemembered)) {
    epochs = epochs.with(`r${index}`, index, runs);
    expect(epochs.size).toBeLessThanOrEqual(maxRemembered + 2);
  }
  expect([epochs.get('r5'), epochs.get('r70'), epochs.get('r6'), epochs.get(`r${5 * maxRemembered - 1}`)]).toEqual([
    5,
    70,
    undefined,
    5 * maxRemembered - 1,
  ]);
  expect(epochs.get(`r${4 * maxRemembered + 100}`)).toBe(4 * maxRemembered + 100);
});
