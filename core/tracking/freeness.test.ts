import { describe, expect, test } from 'vitest';
import { exampleSequence as sequence, exampleStatus as status } from './example-fleet.ts';
import { defragFreenessSteps, dispatchFreenessSteps, pooledFreenessSteps, poolLoad } from './freeness.ts';

const load = (fields: object) => status({ instanceId: 'chat-1', blockTokens: 16, ...fields });

describe('freeness, in steps', () => {
  test.each([
    ['an idle instance has no limit', { freeBlocks: 100 }, Infinity, Infinity],
    ['free blocks are shared by the running', { freeBlocks: 100, running: 10 }, 160, 160],
    [
      'dispatch counts the whole queue, de-fragmentation its head',
      { freeBlocks: 100, running: 8, waiting: 2, waitingBlocks: 50, headBlocks: 10 },
      80,
      160,
    ],
    ['overcommitted is negative', { freeBlocks: 10, running: 1, waiting: 1, waitingBlocks: 30, headBlocks: 30 }, -160, -160],
  ])('%s', (_name, fields, dispatch, defrag) => {
    expect(dispatchFreenessSteps(load(fields))).toBe(dispatch);
    expect(defragFreenessSteps(load(fields))).toBe(defrag);
  });
  test('high priority reserves headroom only where it runs', () => {
    const headroom = { highPriority: 1, headroomBlocks: 50 };
    const normal = load({ freeBlocks: 100, running: 1, sequences: [sequence({ requestId: 'a', priority: 0 })] });
    const high = load({ freeBlocks: 100, running: 1, sequences: [sequence({ requestId: 'a', priority: 2 })] });
    expect(dispatchFreenessSteps(normal, headroom)).toBe(1_600);
    expect(dispatchFreenessSteps(high, headroom)).toBe(800);
  });
  test('pooled freeness spreads the load evenly and stays finite', () => {
    const busy = load({ totalBlocks: 100, freeBlocks: 0, running: 9, waiting: 1, waitingBlocks: 10 });
    const idle = load({ totalBlocks: 100, freeBlocks: 100 });
    expect(pooledFreenessSteps(poolLoad([busy]))).toBe(-16);
    expect(pooledFreenessSteps(poolLoad([busy, idle]))).toBe(144);
    expect(pooledFreenessSteps(poolLoad([idle, idle]))).toBe(3_200);
    expect(pooledFreenessSteps(poolLoad([]))).toBe(0);
  });
});
