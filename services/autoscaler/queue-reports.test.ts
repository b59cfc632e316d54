import { expect, test } from 'vitest';
import { QueuedClass, QueueStatus } from '../../proto/gen/messages.ts';
import { demandOf, newerReport } from './queue-reports.ts';

const status = (epoch: number, version: number, requests: number): QueueStatus => {
  const of = { ...QueuedClass.decode(new Uint8Array()), requests, demandBlocks: requests * 10 };
  return { ...QueueStatus.decode(new Uint8Array()), pool: 'chat', epoch, version, classes: [of, of] };
};
const known = newerReport(undefined, status(3, 5, 1), 1_000, 3_000);

test('the demand of all classes counts, while it is not too old', () => {
  expect(demandOf(known, 4_000, 3_000)).toEqual({ requests: 2, blocks: 20 });
  expect(demandOf(known, 4_001, 3_000)).toBeUndefined();
  expect(demandOf(undefined, 0, 3_000)).toBeUndefined();
});
test.each([
  ['a later version is taken', 3, 6, 1_100, true],
  ['a repeated one is not', 3, 5, 1_100, false],
  ['a late one is not', 3, 4, 1_100, false],
  ['a new owner begins at 1', 4, 1, 1_100, true],
  ['an old owner is not heard', 2, 99, 1_100, false],
  ['unless nobody has spoken for long: the store may have been lost', 1, 1, 4_001, true],
])('%s', (_name, epoch, version, nowMs, taken) => {
  expect(newerReport(known, status(epoch, version, 7), nowMs, 3_000).demand.requests).toBe(taken ? 14 : 2);
});
