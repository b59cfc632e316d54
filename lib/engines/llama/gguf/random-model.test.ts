import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { writeGguf } from './gguf-writer.ts';
import { randomModel } from './random-model.ts';
import { halfOf, xoshiro128 } from './random-weights.ts';
import { wordVocabulary } from './word-vocabulary.ts';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Reads back what the writer writes, by the format's description and not by the writer's code. */
function readGguf(file: Uint8Array) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let at = 0;
  const take = (bytes: number) => {
    at += bytes;
    return at - bytes;
  };
  const uint32 = () => view.getUint32(take(4), true);
  const uint64 = () => Number(view.getBigUint64(take(8), true));
  const text = () => {
    const length = uint64();
    const start = take(length);
    return Buffer.from(file.subarray(start, start + length)).toString('utf8');
  };
  const value = (type: number): unknown => {
    if (type === 4) return uint32();
    if (type === 5) return view.getInt32(take(4), true);
    if (type === 6) return view.getFloat32(take(4), true);
    if (type === 7) return file[take(1)] === 1;
    if (type === 8) return text();
    if (type !== 9) throw new Error(`type ${type} at ${at}`);
    const elementType = uint32();
    return Array.from({ length: uint64() }, () => value(elementType));
  };
  expect(Buffer.from(file.subarray(0, 4)).toString()).toBe('GGUF');
  take(4);
  expect(uint32()).toBe(3);
  const tensorCount = uint64();
  const keyCount = uint64();
  const metadata = new Map(Array.from({ length: keyCount }, () => [text(), value(uint32())] as const));
  const tensors = Array.from({ length: tensorCount }, () => {
    const name = text();
    const shape = Array.from({ length: uint32() }, uint64);
    const type = uint32();
    return { name, shape, type, offset: uint64() };
  });
  const dataStart = Math.ceil(at / 32) * 32;
  return { metadata, tensors, data: file.subarray(dataStart) };
}

describe('random model', () => {
  const file = randomModel('exact');

  it('has the metadata and tensors of a Llama model', () => {
    const { metadata, tensors, data } = readGguf(file);
    expect(Object.fromEntries([...metadata].filter(([, value]) => !Array.isArray(value)))).toMatchObject({
      'general.architecture': 'llama',
      'llama.embedding_length': 130,
      'llama.block_count': 4,
      'llama.feed_forward_length': 386,
      'llama.attention.head_count': 5,
      'llama.attention.head_count_kv': 1,
      'llama.rope.dimension_count': 26,
      'tokenizer.ggml.eos_token_id': 2,
    });
    expect(metadata.get('tokenizer.ggml.tokens')).toEqual(wordVocabulary().pieces);
    expect((metadata.get('tokenizer.ggml.token_type') as number[]).slice(0, 7)).toEqual([2, 3, 3, 3, 3, 6, 6]);
    expect(tensors).toHaveLength(3 + 4 * 9);
    expect(Object.fromEntries(tensors.map(({ name, shape }) => [name, shape]))).toMatchObject({
      'token_embd.weight': [130, 1135],
      'output.weight': [130, 1135],
      'blk.3.attn_k.weight': [130, 26],
      'blk.0.ffn_down.weight': [386, 130],
    });
    let end = 0;
    for (const { shape, type, offset } of tensors) {
      expect(offset).toBe(Math.ceil(end / 32) * 32);
      end = offset + shape.reduce((product, size) => product * size, type === 0 ? 4 : 2);
    }
    expect(data.length).toBe(Math.ceil(end / 32) * 32);
  });

  it('scores nothing but words and punctuation', () => {
    const { tensors, data } = readGguf(file);
    const output = tensors.find(({ name }) => name === 'output.weight')!;
    const spoken = new Set(wordVocabulary().spokenIds);
    for (let id = 0; id < 1135; id++) {
      const row = data.subarray(output.offset + id * 260, output.offset + (id + 1) * 260);
      expect(row.some((byte) => byte !== 0)).toBe(spoken.has(id));
    }
  });

  it('is the same file each time and on every machine, and another with another seed', { timeout: 60_000 }, () => {
    // A change of the file is a new generatorVersion: caches keep models by it.
    expect(sha256(file)).toBe('6df4694e6ab188158c4d84744d79268dc9b5ae52f1d44e411abc96e23234bd9a');
    expect(sha256(randomModel('exact'))).toBe(sha256(file));
    expect(sha256(randomModel('exact', { seed: 2 }))).not.toBe(sha256(file));
  });
});

describe('word vocabulary', () => {
  const { pieces, spokenIds } = wordVocabulary();

  it('has as many different pieces as it says', () => {
    expect(new Set(pieces).size).toBe(1135);
    expect(spokenIds.length).toBeGreaterThan(250);
  });

  it('has every beginning of every word', () => {
    const known = new Set(pieces);
    const missing = spokenIds.map((id) => pieces[id]!).filter((word) => word.length > 1 && !known.has(word.slice(0, -1)));
    expect(missing).toEqual([]);
  });
});

describe('random weights', () => {
  it('come from xoshiro128**', () => {
    // The first numbers of the published generator from the state 1, 2, 3, 4.
    const next = xoshiro128([1, 2, 3, 4]);
    expect([next(), next(), next(), next(), next()]).toEqual([11520, 0, 5927040, 70819200, 2031721883]);
  });

  it('are rounded to the nearest half-precision number', () => {
    const value = (bits: number) => {
      const exponent = (bits >> 10) & 31;
      const size = exponent === 0 ? (bits & 1023) * 2 ** -24 : (1024 + (bits & 1023)) * 2 ** (exponent - 25);
      return bits & 0x8000 ? -size : size;
    };
    for (const exact of [0, 1, -1, 0.5, 2 ** -14, 2 ** -24, 1023 * 2 ** -24, 1.5, -3.25]) expect(value(halfOf(exact * 2 ** 32))).toBe(exact);
    expect(value(halfOf((1 + 2 ** -11) * 2 ** 32))).toBe(1);
    expect(value(halfOf((1 + 3 * 2 ** -11) * 2 ** 32))).toBe(1 + 2 ** -9);
    expect(value(halfOf((2 - 2 ** -12) * 2 ** 32))).toBe(2);
  });
});

describe('gguf writer', () => {
  it('keeps values of every kind, however long the head grows', () => {
    const long = 'ü'.repeat(100_000);
    const { metadata } = readGguf(
      writeGguf(
        new Map([
          ['a', { type: 'string', value: long }],
          ['b', { type: 'bool', value: false }],
          ['c', { type: 'int32s', value: [-1, 2] }],
          ['d', { type: 'float32', value: 0.5 }],
        ]),
        [],
      ),
    );
    expect([...metadata.values()]).toEqual([long, false, [-1, 2], 0.5]);
  });
});
