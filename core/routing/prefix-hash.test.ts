import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { prefixBlockBytes, prefixBlocksMax, prefixHashes } from './prefix-hash.ts';

describe('prefix hashes', () => {
  test('a prompt shorter than a block has none', () => {
    expect(prefixHashes('')).toEqual([]);
    expect(prefixHashes('a'.repeat(prefixBlockBytes - 1))).toEqual([]);
  });

  test('there are never more than the limit', () => {
    expect(prefixHashes('x'.repeat(1_000_000))).toHaveLength(prefixBlocksMax);
  });

  test('repeated content gives different hashes, because they are chained', () => {
    expect(new Set(prefixHashes('x'.repeat(4 * prefixBlockBytes))).size).toBe(4);
  });

  test('the values are fixed: index and gateway of different versions agree', () => {
    expect(prefixHashes('abcdefgh'.repeat(64))).toEqual([846_023_342, 1_100_425_223]);
  });

  test('text and its bytes give the same, at the edge of the last block too', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), fc.nat({ max: prefixBlockBytes }), (text, pad) => {
        const long = 'p'.repeat(pad) + text.repeat(300);
        expect(prefixHashes(long)).toEqual(prefixHashes(new TextEncoder().encode(long)));
      }),
      { numRuns: 50 },
    );
  });

  test('prompts share exactly the hashes of the blocks that they share', () => {
    fc.assert(
      fc.property(fc.nat({ max: 6 }), fc.nat({ max: prefixBlockBytes - 1 }), (blocks, offset) => {
        const a = new Uint8Array(8 * prefixBlockBytes).fill(7);
        const b = a.slice();
        b[blocks * prefixBlockBytes + offset] = 8;
        const [left, right] = [prefixHashes(a), prefixHashes(b)];
        expect(right.slice(0, blocks)).toEqual(left.slice(0, blocks));
        for (let k = blocks; k < 8; k++) expect(right[k]).not.toBe(left[k]);
      }),
    );
  });

  test('every hash is an unsigned 32-bit integer', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 600, maxLength: 600 }), (bytes) => {
        for (const hash of prefixHashes(bytes)) expect(Number.isInteger(hash) && hash >= 0 && hash <= 0xffffffff).toBe(true);
      }),
    );
  });
});
