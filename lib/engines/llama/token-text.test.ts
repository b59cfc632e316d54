import { describe, expect, test } from 'vitest';
import { bytesOfToken, readerOf } from './child/vocabulary.ts';
import { TokenText, textOf } from './token-text.ts';

function vocabularyOfBytes(tokens: readonly (readonly number[])[]) {
  let end = 0;
  return { bytes: Uint8Array.from(tokens.flat()), ends: Uint32Array.from(tokens, (token) => (end += token.length)) };
}

/** é, the first two bytes of 😀, its last two, nothing, "a", a byte that no character has. */
const vocabulary = vocabularyOfBytes([[0xc3, 0xa9], [0xf0, 0x9f], [0x98, 0x80], [], [0x61], [0xff]]);

test('a character that is not whole is held back until it is', () => {
  const text = new TokenText(vocabulary);
  expect([[0], [1], [3], [2], [4]].map((ids) => text.next(ids))).toEqual(['é', '', '', '😀', 'a']);
});

test('the text does not depend on where it is cut', () => {
  const ids = [1, 2, 1, 4, 5, 0, 1, 1, 2, 4];
  const whole = textOf(vocabulary, ids);
  for (let cut = 0; cut <= ids.length; cut++) {
    const text = new TokenText(vocabulary);
    expect(text.next(ids.slice(0, cut)) + text.next(ids.slice(cut))).toBe(whole);
  }
  expect(whole).toContain('\uFFFD');
});

test('an end in the middle of a character shows nothing of it', () => {
  expect(textOf(vocabulary, [4, 1])).toBe('a');
});

describe('bytes of tokens', () => {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

  test('byte-level vocabularies stand for bytes by characters', () => {
    const read = readerOf('bpe');
    expect(text(bytesOfToken('Ġthe', 4, read))).toBe(' the');
    expect([...bytesOfToken('Ċ', 4, read)]).toEqual([10]);
    expect(text(bytesOfToken('Ã©', 4, read))).toBe('é');
  });

  test('sentence-piece vocabularies have a mark for a blank, and tokens of one byte', () => {
    const read = readerOf('spm');
    expect(text(bytesOfToken('\u2581the', 4, read))).toBe(' the');
    expect([...bytesOfToken('<0xE2>', 32, read)]).toEqual([0xe2]);
  });

  test('control tokens have no text, those that a user has defined have theirs', () => {
    const read = readerOf('bpe');
    expect(bytesOfToken('<|im_end|>', 8, read)).toHaveLength(0);
    expect(text(bytesOfToken('<tool> é', 16, read))).toBe('<tool> é');
  });

  test('a vocabulary of another kind is refused', () => {
    expect(() => readerOf('wpm')).toThrow('spm and bpe');
  });
});
