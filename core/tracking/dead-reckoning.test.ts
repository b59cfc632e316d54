import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { projectStatus } from './dead-reckoning.ts';
import { exampleSequence as sequence, exampleStatus as status } from './example-fleet.ts';

describe('dead reckoning', () => {
  test('age 0 changes nothing', () => {
    const report = status({ instanceId: 'chat-1', sequences: [sequence({ requestId: 'a' })] });
    expect(projectStatus(report, 0)).toBe(report);
  });
  test('a decoding sequence produces one token per step and grows by whole blocks', () => {
    const report = status({ instanceId: 'chat-1', sequences: [sequence({ requestId: 'a', promptTokens: 160, outputTokens: 16 })] });
    const after = projectStatus(report, 500); // 25 steps of 20 ms
    expect(after.sequences[0]).toMatchObject({ outputTokens: 41, blocks: 13 });
    expect(after.freeBlocks).toBe(report.freeBlocks - 2);
  });
  test('a sequence that reaches its limit is gone with its blocks', () => {
    const report = status({ instanceId: 'chat-1', sequences: [sequence({ requestId: 'a', outputTokens: 16, maxOutputTokens: 20 })] });
    expect(projectStatus(report, 500)).toMatchObject({ running: 0, freeBlocks: 1_000, sequences: [] });
  });
  test('a prompt is computed by the step model, then decodes', () => {
    const report = status({ instanceId: 'chat-1', sequences: [sequence({ requestId: 'a', state: 'prefill', promptTokens: 900, outputTokens: 0 })] });
    expect(projectStatus(report, 99).sequences[0]).toMatchObject({ state: 'prefill', outputTokens: 0 });
    expect(projectStatus(report, 140).sequences[0]).toMatchObject({ state: 'decode', outputTokens: 3 }); // 100 ms, 1 + 2 steps
  });
  test('a queued sequence starts when a running one has ended', () => {
    const report = status({
      instanceId: 'chat-1',
      maxRunning: 1,
      sequences: [
        sequence({ requestId: 'a', maxOutputTokens: 17 }),
        sequence({ requestId: 'b', state: 'waiting', outputTokens: 0, arrivalMs: 2e12 }),
      ],
    });
    const after = projectStatus(report, 100);
    expect(after).toMatchObject({ running: 1, waiting: 0, waitingBlocks: 0, headBlocks: 0 });
    expect(after.sequences).toMatchObject([{ requestId: 'b', state: 'prefill', blocks: 10 }]);
  });
  test('a paused sequence and an instance without a step model stand still', () => {
    const paused = status({ instanceId: 'chat-1', sequences: [sequence({ requestId: 'a', state: 'paused' })] });
    expect(projectStatus(paused, 1_000).sequences[0]?.outputTokens).toBe(16);
    const unknown = status({ instanceId: 'chat-1', stepMs: 0, stepModel: null, sequences: [sequence({ requestId: 'a' })] });
    expect(projectStatus(unknown, 1_000)).toBe(unknown);
  });

  const anySequence = fc.record({
    state: fc.constantFrom('waiting' as const, 'prefill' as const, 'decode' as const, 'paused' as const),
    promptTokens: fc.integer({ min: 1, max: 2_000 }),
    outputTokens: fc.nat(500),
    left: fc.nat(200),
  });
  const anyStatus = fc
    .record({ list: fc.array(anySequence, { maxLength: 20 }), spareBlocks: fc.nat(100), maxRunning: fc.integer({ min: 1, max: 32 }) })
    .map(({ list, spareBlocks, maxRunning }) => {
      const sequences = list.map((s, i) => sequence({ requestId: `r${i}`, ...s, maxOutputTokens: s.outputTokens + s.left + 1 }));
      const used = sequences.reduce((sum, s) => sum + s.blocks, 0);
      return status({ instanceId: 'chat-1', sequences, totalBlocks: used + spareBlocks, maxRunning });
    });
  test('blocks are conserved, tokens stay within their limit, nothing goes negative', () => {
    fc.assert(
      fc.property(anyStatus, fc.integer({ min: 0, max: 10_000 }), (report, ageMs) => {
        const after = projectStatus(report, ageMs);
        const used = after.sequences.reduce((sum, s) => sum + s.blocks, 0);
        expect(used + after.freeBlocks).toBe(after.totalBlocks);
        expect(after.freeBlocks).toBeGreaterThanOrEqual(0);
        expect(Math.min(after.running, after.waiting, after.waitingBlocks, after.headBlocks)).toBeGreaterThanOrEqual(0);
        for (const s of after.sequences) expect(s.outputTokens).toBeLessThanOrEqual(s.maxOutputTokens);
        expect(after.running).toBeLessThanOrEqual(Math.max(report.running, report.maxRunning));
      }),
    );
  });
  test('older reports are moved no further than the limit', () => {
    fc.assert(
      fc.property(anyStatus, fc.integer({ min: 500, max: 100_000 }), (report, ageMs) => {
        expect(projectStatus(report, ageMs, { maxAgeMs: 500 })).toEqual(projectStatus(report, 500, { maxAgeMs: 500 }));
      }),
    );
  });
});
