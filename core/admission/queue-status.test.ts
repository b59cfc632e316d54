import { expect, test } from 'vitest';
import { aRequest } from '../routing/routing-fixtures.ts';
import { queuedClasses, sameQueue } from './queue-status.ts';

const waiting = [
  aRequest('r1', { sloClass: 'batch', promptTokens: 31, arrivalMs: 9 }),
  aRequest('r2', { sloClass: 'batch', promptTokens: 32, arrivalMs: 7 }),
  aRequest('r3', { sloClass: 'interactive', promptTokens: 16, generatedTokens: 16, epoch: 1, arrivalMs: 8 }),
];

test('demand is counted in blocks as an engine counts it: everything to compute, and room for the next token', () => {
  expect(queuedClasses(waiting, 16)).toEqual([
    { sloClass: 'interactive', requests: 1, continuations: 1, demandBlocks: 3, oldestArrivalMs: 8 },
    { sloClass: 'standard', requests: 0, continuations: 0, demandBlocks: 0, oldestArrivalMs: 0 },
    { sloClass: 'batch', requests: 2, continuations: 0, demandBlocks: 2 + 3, oldestArrivalMs: 7 },
  ]);
});

test('without a known block size there is no demand to tell', () => {
  expect(queuedClasses(waiting, 0).map(({ requests, demandBlocks }) => [requests, demandBlocks])).toEqual([
    [1, 0],
    [0, 0],
    [2, 0],
  ]);
});

test('a queue that would be decided upon alike is no news', () => {
  const told = queuedClasses(waiting, 16);
  expect(sameQueue(told, queuedClasses([waiting[0]!, waiting[1]!, { ...waiting[2]!, arrivalMs: 1 }], 16))).toBe(true);
  expect(sameQueue(told, queuedClasses(waiting.slice(1), 16))).toBe(false);
  expect(sameQueue(told, [])).toBe(false);
});
