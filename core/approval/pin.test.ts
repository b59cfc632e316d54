import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson, pinPayload } from './pin.ts';
import { sha256Hex } from './sha256.ts';

/** The same value with every object's keys inserted in the opposite order. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, item]) => [key, reversed(item)]),
  );
}

describe('pinPayload', () => {
  it('sorts keys at every depth and leaves array order alone', () => {
    expect(canonicalJson({ b: [2, 1], a: { d: null, c: 'x' } })).toBe('{"a":{"c":"x","d":null},"b":[2,1]}');
  });

  it('leaves out undefined keys', () => {
    expect(canonicalJson({ a: 1, b: undefined })).toBe('{"a":1}');
  });

  it('refuses what JSON cannot say', () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, () => 1, 1n, { a: Number.NaN }, [undefined]])
      expect(() => canonicalJson(value)).toThrow(TypeError);
  });

  it('gives the same hash whatever the order of keys, and reads back as the same value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(pinPayload(reversed(value))).toEqual(pinPayload(value));
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
  });

  it('gives different hashes for different values', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        fc.pre(canonicalJson(a) !== canonicalJson(b));
        expect(pinPayload(a).actionHash).not.toBe(pinPayload(b).actionHash);
      }),
    );
  });
});

describe('sha256Hex', () => {
  it('agrees with node:crypto on every length around the padding boundary and on any text', () => {
    const reference = (text: string) => createHash('sha256').update(text).digest('hex');
    for (let length = 0; length < 200; length++) expect(sha256Hex('x'.repeat(length))).toBe(reference('x'.repeat(length)));
    fc.assert(fc.property(fc.string({ unit: 'grapheme', maxLength: 300 }), (text) => sha256Hex(text) === reference(text)));
  });
});
