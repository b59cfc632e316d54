// The text of tokens. A token may end in the middle of a character: its bytes are held back until the rest has come, and a
// text is the same however its tokens are cut into pieces.
import type { Vocabulary } from './child/messages.ts';

/** Turns tokens into text, piece by piece. */
export class TokenText {
  readonly #vocabulary: Vocabulary;
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  constructor(vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
  }

  /** What these tokens add to the text: whole characters. Bytes that are none become U+FFFD. */
  next(tokenIds: readonly number[]): string {
    let text = '';
    for (const id of tokenIds) text += this.#decoder.decode(bytesOf(this.#vocabulary, id), { stream: true });
    return text;
  }
}

/** Text of tokens from the first on, without a character that is not whole. */
export function textOf(vocabulary: Vocabulary, tokenIds: readonly number[]): string {
  return new TokenText(vocabulary).next(tokenIds);
}

function bytesOf({ bytes, ends }: Vocabulary, id: number): Uint8Array {
  return bytes.subarray(id === 0 ? 0 : ends[id - 1], ends[id]);
}
