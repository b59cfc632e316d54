import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { exampleSequence as sequence, exampleStatus as status } from './example-fleet.ts';
import { defragFreenessSteps, dispatchFreenessSteps, pooledFreenessSteps, poolLoad } from './freeness.ts';

const load = (fields: object) => status({ instanceId: 'chat-1', blockTokens: 16, ...fields });

// The formulas of Llumnix, times the block size. F = (M - virtual usage) / B, where virtual usage is
//   dispatch, scaling:  blocks in use + the demand of every queued sequence,      B = running + waiting
//   de-fragmentation:   blocks in use + the demand of the head of the queue only, B = running + [queue > 0]
//   each plus, where high priority runs, its headroom, shared by its sequences.
describe('freeness, in steps', () => {
  test('F = (M - virtual usage) / B for any load', () => {
    const anyLoad = fc
      .record({
        used: fc.nat(1_000),
        running: fc.nat(40),
        queue: fc.array(fc.integer({ min: 1, max: 100 }), { maxLength: 20 }),
        headroom: fc.nat(200),
      })
      .filter(({ running, queue }) => running + queue.length > 0);
    fc.assert(
      fc.property(anyLoad, ({ used, running, queue, headroom }) => {
        const M = 1_000;
        const waitingBlocks = queue.reduce((sum, demand) => sum + demand, 0);
        const high = { highPriority: 1, headroomBlocks: headroom };
        const sequences = running > 0 ? [sequence({ requestId: 'a', priority: 1 })] : [];
        const physical = running > 0 ? headroom : 0;
        const report = load({
          totalBlocks: M,
          freeBlocks: M - used,
          running,
          waiting: queue.length,
          waitingBlocks,
          headBlocks: queue[0] ?? 0,
          sequences,
        });
        expect(dispatchFreenessSteps(report, high)).toBeCloseTo(((M - (used + waitingBlocks + physical)) / (running + queue.length)) * 16);
        expect(defragFreenessSteps(report, high)).toBeCloseTo(
          ((M - (used + (queue[0] ?? 0) + physical)) / (running + (queue.length > 0 ? 1 : 0))) * 16,
        );
      }),
    );
  });

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
