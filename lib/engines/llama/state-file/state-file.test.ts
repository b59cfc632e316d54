import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { retargetStreams } from './retarget-streams.ts';
import { readStateFile, type StateFile, shapeDifference } from './state-file.ts';
import { type MadeState, madeShape, makeState } from './state-file-fixtures.ts';

const limits = { vocabularySize: 100, contextTokens: 64 };
const tokenIds = [1, 50, 51, 52, 99];
const read = (bytes: Uint8Array) => readStateFile(bytes, limits);

function readGood(bytes: Uint8Array): StateFile {
  const state = read(bytes);
  if ('code' in state) throw new Error(state.message);
  return state;
}

const arbitraryState: fc.Arbitrary<MadeState> = fc
  .record({
    tokenIds: fc.array(fc.nat(99), { minLength: 1, maxLength: 20 }),
    streams: fc.integer({ min: 1, max: 5 }),
    shape: fc.record({ vTransposed: fc.boolean(), layers: fc.integer({ min: 1, max: 3 }), kCellBytes: fc.constantFrom(2, 12, 34) }),
    at: fc.nat(4),
    keys: fc.array(fc.nat(), { minLength: 20, maxLength: 20 }),
  })
  .map(({ at, keys, ...made }) => {
    const positions = made.tokenIds.map((_, index) => index).sort((a, b) => keys[a]! - keys[b]!);
    return { ...made, stream: at % made.streams, positions };
  });

describe('a good state file', () => {
  test.each([true, false])('says its tokens and its shape (V transposed: %s)', (vTransposed) => {
    const state = readGood(makeState({ tokenIds, streams: 3, stream: 1, shape: { vTransposed } }));
    expect(state).toMatchObject({ tokenIds, streams: 3, shape: { ...madeShape, vTransposed } });
  });

  it('is read whatever the order of its cells and whichever stream has them', () => {
    fc.assert(
      fc.property(arbitraryState, (made) => {
        expect(readGood(makeState(made))).toMatchObject({ tokenIds: made.tokenIds, streams: made.streams });
      }),
    );
  });

  it('fits a context with any count of sequences, and comes back the same', () => {
    fc.assert(
      fc.property(arbitraryState, fc.integer({ min: 1, max: 256 }), (made, streams) => {
        const bytes = makeState({ ...made, stream: 0 });
        const state = readGood(bytes);
        const moved = retargetStreams(bytes, state, streams);
        const there = readGood(moved);
        expect(there).toMatchObject({ tokenIds: state.tokenIds, shape: state.shape, streams });
        expect(retargetStreams(moved, there, made.streams!)).toEqual(bytes);
      }),
    );
  });
});

describe('refused before llama.cpp sees it', () => {
  test.each<[string, Partial<MadeState>, string]>([
    ['another magic', { magic: 0x67677370 }, 'begin'],
    ['another version', { version: 4 }, 'format 4'],
    ['no tokens', { tokenIds: [], positions: [] }, 'no tokens'],
    ['an absurd count of tokens', { tokenCount: 0xfffffff0 }, 'ends within its 4294967280 tokens'],
    ['an absurd count of cells', { cellCount: 0xfffffff0 }, '4294967280 cells'],
    ['a cell more than there are tokens', { positions: [0, 1, 2, 3, 4, 5] }, '6 cells for 5'],
    ['a cell less', { positions: [0, 1, 2, 3] }, '4 cells for 5'],
    ['a token outside the vocabulary', { tokenIds: [1, 2, 3, 4, 100] }, 'token 100'],
    ['a negative token', { tokenIds: [1, 2, 3, 4, -1] }, 'token -1'],
    ['a position twice', { positions: [0, 1, 2, 3, 3] }, 'position 3 twice'],
    ['a negative position', { positions: [-1, 1, 2, 3, 4] }, 'position -1'],
    ['a huge position', { positions: [0, 1, 2, 3, 1_000_000] }, 'position 1000000'],
    ['a gap between positions', { positions: [0, 1, 2, 3, 5] }, 'position 5'],
    ['cells of two sequences', { sequencesOfCell: 2 }, 'one sequence'],
    ['no streams', { streams: 0 }, '0 streams'],
    ['an absurd count of streams', { streams: 257 }, '257 streams'],
    ['cells in no stream', { stream: 5 }, 'no cells'],
    ['rows of no bytes', { shape: { kCellBytes: 0 } }, 'K of 0 bytes'],
    ['rows of absurd size', { shape: { kCellBytes: 2 ** 21 }, tokenIds: [1] }, 'K of 2097152 bytes'],
    ['no layers', { shape: { layers: 0 } }, '0 layers'],
  ])('%s', (_what, made, words) => {
    const refused = read(makeState({ tokenIds, ...made }));
    expect(refused).toMatchObject({ code: 'corrupt_kv', message: expect.stringContaining(words) });
  });

  it('more tokens than the context holds', () => {
    expect(read(makeState({ tokenIds: Array.from({ length: 65 }, () => 1) }))).toMatchObject({ code: 'kv_too_large' });
  });

  it('layers of different width', () => {
    const bytes = makeState({ tokenIds, streams: 1, shape: { vTransposed: false, kCellBytes: 8, vCellBytes: 8 } });
    // The second layer's bytes of a K row.
    new DataView(bytes.buffer).setUint32(12 + 20 + 4 + 4 + 60 + 8 + 12 + 40 + 4, 16, true);
    expect(read(bytes)).toMatchObject({ code: 'corrupt_kv', message: expect.stringContaining('different K') });
  });

  it('cells in two streams', () => {
    const one = makeState({ tokenIds: [1], streams: 1 });
    const twice = new Uint8Array([...one, ...one.subarray(20)]);
    new DataView(twice.buffer).setUint32(16, 2, true);
    expect(read(twice)).toMatchObject({ code: 'corrupt_kv', message: expect.stringContaining('two streams') });
  });

  it('every file that is cut short, or goes on after its end', () => {
    fc.assert(
      fc.property(arbitraryState, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 20 }), (made, cut, more) => {
        const bytes = makeState(made);
        expect(read(bytes.subarray(0, cut % bytes.length))).toHaveProperty('code', 'corrupt_kv');
        expect(read(bytes.subarray(0, bytes.length - 1 - (cut % 3)))).toHaveProperty('code', 'corrupt_kv');
        expect(read(new Uint8Array([...bytes, ...more]))).toHaveProperty('code', 'corrupt_kv');
      }),
    );
  });

  it('every change before the KV values but of what names nothing: other tokens of the vocabulary, other orders, another type', () => {
    fc.assert(
      fc.property(arbitraryState, fc.nat(), fc.integer({ min: 1, max: 255 }), (made, where, flip) => {
        const bytes = makeState({ ...made, streams: 1, stream: 0 });
        const good = readGood(bytes);
        const headEnd = good.cellsAt + 4 + good.tokenIds.length * 12 + 8 + 12;
        const at = where % headEnd;
        bytes[at]! ^= flip;
        const changed = read(bytes);
        if ('code' in changed) return;
        // What is still accepted is a file of the same size in every part: llama.cpp reads within its bounds.
        expect(changed.tokenIds).toHaveLength(good.tokenIds.length);
        expect(changed.tokenIds.every((id) => id < limits.vocabularySize)).toBe(true);
        expect([changed.cellsAt, changed.cellsEnd, changed.streams]).toEqual([good.cellsAt, good.cellsEnd, good.streams]);
        const inTokens = at >= 12 && at < good.streamsAt;
        const inSequenceId = at >= good.cellsAt + 4 && (at - good.cellsAt - 4) % 12 >= 8;
        const inType = at >= headEnd - 12 && at < headEnd - 8;
        expect(inTokens || inSequenceId || inType).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  it('bytes by chance, without much work', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => 'code' in read(bytes)));
  });
});

test('a difference of shape has words', () => {
  expect(shapeDifference(madeShape, madeShape)).toBeUndefined();
  expect(shapeDifference({ ...madeShape, layers: 3 }, madeShape)).toBe('layers 3, not 2');
});
