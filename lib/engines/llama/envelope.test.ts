import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { checkBlob, checkEnvelope, decodeEnvelope, type EngineFacts, encodeEnvelope, envelopeOf, kvFormatOf } from './envelope.ts';

const facts: EngineFacts = {
  release: 'v0.5.0',
  cpuFlags: 'AVX2 = 1',
  modelSha256: 'ab'.repeat(32),
  flashAttention: false,
  shape: { layers: 4, kType: 1, vType: 1, kCellBytes: 52, vCellBytes: 52, vTransposed: true },
};
const blob = Uint8Array.from({ length: 100 }, (_, index) => index);
const envelope = envelopeOf({ facts, contextTokens: 2048, sequences: 4 }, blob, 10);
const here = { facts, contextTokens: 2048 };

test('an envelope comes back as it was', () => {
  expect(decodeEnvelope(encodeEnvelope(envelope))).toEqual(envelope);
});

test('what is no envelope is refused, whatever it is', () => {
  expect(decodeEnvelope(new Uint8Array(10_000))).toMatchObject({ code: 'corrupt_kv' });
  expect(decodeEnvelope(encodeEnvelope({ ...envelope, version: 2 } as never))).toMatchObject({
    code: 'corrupt_kv',
    message: expect.stringContaining('version'),
  });
  expect(decodeEnvelope(Buffer.from(JSON.stringify({ ...envelope, more: 1 })))).toMatchObject({ code: 'corrupt_kv' });
  const text = Buffer.from(encodeEnvelope(envelope)).toString();
  fc.assert(
    fc.property(fc.nat(text.length - 1), fc.jsonValue(), (end, value) => {
      expect(decodeEnvelope(Buffer.from(text.slice(0, end)))).toHaveProperty('code', 'corrupt_kv');
      expect(decodeEnvelope(Buffer.from(JSON.stringify(value)))).toHaveProperty('code', 'corrupt_kv');
      for (const key of Object.keys(envelope)) {
        const changed = decodeEnvelope(Buffer.from(JSON.stringify({ ...envelope, [key]: value })));
        expect('code' in changed || JSON.stringify(changed) === JSON.stringify({ ...envelope, [key]: value })).toBe(true);
      }
    }),
  );
});

describe('a state may be loaded', () => {
  it('by an engine with the same facts, whatever its sequences', () => {
    expect(checkEnvelope(envelope, here)).toBeUndefined();
    expect(checkEnvelope(envelope, { facts, contextTokens: 256 })).toBeUndefined();
  });

  const others: Record<string, Partial<EngineFacts>> = {
    'another release of llama.cpp': { release: 'v0.7.0' },
    'another model': { modelSha256: 'cd'.repeat(32) },
    'another setting of flash attention': { flashAttention: true },
    'another processor': { cpuFlags: 'AVX512 = 1' },
    'another shape: kType 0': { shape: { ...facts.shape, kType: 0 } },
    'another shape: kCellBytes 104': { shape: { ...facts.shape, kCellBytes: 104 } },
  };
  test.each(Object.entries(others))('not with %s, and the key differs too', (words, other) => {
    const there = envelopeOf({ facts: { ...facts, ...other }, contextTokens: 2048, sequences: 4 }, blob, 10);
    expect(checkEnvelope(there, here)).toMatchObject({ code: 'transfer_failed', message: expect.stringContaining(words) });
    expect(kvFormatOf({ ...facts, ...other })).not.toBe(kvFormatOf(facts));
  });

  it('not where no further token fits', () => {
    expect(checkEnvelope(envelope, { facts, contextTokens: 11 })).toBeUndefined();
    expect(checkEnvelope(envelope, { facts, contextTokens: 10 })).toMatchObject({ code: 'kv_too_large' });
  });
});

test('a key is llama and 16 hex digits, and does not depend on the order of properties', () => {
  expect(kvFormatOf(facts)).toMatch(/^llama:[0-9a-f]{16}$/);
  const { shape, ...rest } = facts;
  expect(kvFormatOf({ shape: { ...shape }, ...rest })).toBe(kvFormatOf(facts));
});

test('a blob is the one that was sealed, to the last bit', () => {
  expect(checkBlob(envelope, blob)).toBeUndefined();
  expect(checkBlob(envelope, blob.subarray(1))).toMatchObject({ code: 'corrupt_kv', message: expect.stringContaining('99 bytes') });
  fc.assert(
    fc.property(fc.nat(99), fc.nat(7), (at, bit) => {
      const flipped = blob.slice();
      flipped[at]! ^= 1 << bit;
      expect(checkBlob(envelope, flipped)).toMatchObject({ code: 'corrupt_kv', message: expect.stringContaining('checksum') });
    }),
  );
});
