import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { expectedTokens, naturalLength, readSlot, startState, tokenize, writeSlot } from './token-function.ts';
import { textOf, words } from './vocabulary.ts';

describe('tokens of the simulated model', () => {
  test('the vocabulary has every word once', () => {
    expect(new Set(words).size).toBe(words.length);
    expect(words.every((word) => /^[a-z]+$/.test(word))).toBe(true);
  });

  test('are the same for the same model and prompt, and a longer answer begins with the shorter one', () => {
    const short = expectedTokens('m', 'Tell me about bridges.', 20);
    const long = expectedTokens('m', 'Tell me about bridges.', 200);
    expect(long.ids.slice(0, 20)).toEqual(short.ids);
    expect(long.text.startsWith(short.text)).toBe(true);
    expect(short.text).toBe(textOf(short.ids));
  });

  test('differ with the model and with any part of the prompt', () => {
    const base = expectedTokens('m', 'one two three', 8).ids;
    expect(expectedTokens('n', 'one two three', 8).ids).not.toEqual(base);
    expect(expectedTokens('m', 'one two thre', 8).ids).not.toEqual(base);
    expect(expectedTokens('m', 'One two three', 8).ids).not.toEqual(base);
  });

  test('do not fall into a short loop', () => {
    const { ids } = expectedTokens('m', 'x', 2000);
    expect(new Set(ids).size).toBeGreaterThan(words.length / 2);
  });

  test('an empty prompt has no next token', () => {
    expect(() => expectedTokens('m', '', 1)).toThrow(RangeError);
  });

  test('about four bytes of prompt make a token', () => {
    expect(tokenize(' abc def ghi')).toHaveLength(3);
    expect(tokenize('abcdefgh')).toHaveLength(2);
    expect(tokenize('')).toEqual([]);
  });

  test('the natural length depends on the prompt alone and stays within 16 to 255', () => {
    const lengths = Array.from({ length: 200 }, (_, i) => naturalLength('m', tokenize(`prompt ${i}`)));
    expect(Math.min(...lengths)).toBeGreaterThanOrEqual(16);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(255);
    expect(new Set(lengths).size).toBeGreaterThan(50);
  });

  test('a slot gives its state back, and any flipped bit of it gives another one', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 2, max: 32 }), fc.nat(), fc.nat(31), (model, length, word, bit) => {
        const memory = new Uint32Array(length + 3);
        const state = startState(model);
        writeSlot(memory, 2, length, state);
        const back = { lo: 0, hi: 0 };
        readSlot(memory, 2, length, back);
        expect(back).toEqual(state);
        const at = 2 + (word % length);
        memory[at] = memory[at]! ^ (1 << bit);
        readSlot(memory, 2, length, back);
        expect(back).not.toEqual(state);
      }),
    );
  });
});
