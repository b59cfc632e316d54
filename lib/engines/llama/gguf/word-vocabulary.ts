// The vocabulary of generated models: a SentencePiece one, small, with whole words so that what they say can be read.
import { words } from '../../../../core/engine/vocabulary.ts';

export interface WordVocabulary {
  readonly pieces: readonly string[];
  /** As llama.cpp numbers them: 1 normal, 2 unknown, 3 control, 6 byte. */
  readonly kinds: readonly number[];
  readonly bosId: number;
  readonly eosId: number;
  /** Ends a turn of a chat. */
  readonly eotId: number;
  /** Words and punctuation: what a model says. */
  readonly spokenIds: readonly number[];
}

/** Pieces in all. */
export const vocabularyPieces = 1135;
/** How SentencePiece writes a space. */
const space = '▁';
const specials = ['<unk>', '<s>', '</s>', '<|im_start|>', '<|im_end|>'];
const punctuation = ['.', ','];

/**
 * Specials, the 256 bytes, ASCII, and words with all their beginnings: the tokenizer joins two pieces at a time, so a word
 * can only be found by way of them.
 */
export function wordVocabulary(): WordVocabulary {
  const pieces = [...specials];
  for (let byte = 0; byte < 256; byte++) pieces.push(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const firstNormal = pieces.length;
  for (let code = 0x21; code < 0x7f; code++) pieces.push(String.fromCharCode(code));
  pieces.push(space);
  const known = new Map(pieces.map((piece, id) => [piece, id]));
  const spoken = new Set(punctuation.map((mark) => known.get(mark)!));
  for (const word of fewFromEverywhere(words)) {
    const beginnings = Array.from({ length: word.length }, (_, end) => space + word.slice(0, end + 1));
    const fresh = beginnings.filter((piece) => !known.has(piece));
    if (pieces.length + fresh.length > vocabularyPieces) continue;
    for (const piece of fresh) {
      known.set(piece, pieces.length);
      pieces.push(piece);
    }
    spoken.add(known.get(space + word)!);
  }
  return {
    pieces,
    kinds: pieces.map((_, id) => (id === 0 ? 2 : id < specials.length ? 3 : id < firstNormal ? 6 : 1)),
    bosId: 1,
    eosId: 2,
    eotId: 4,
    spokenIds: [...spoken].sort((a, b) => a - b),
  };
}

/** The same list in an order that does not begin with all of the letter a. */
function fewFromEverywhere(list: readonly string[]): string[] {
  const stride = 5;
  return Array.from({ length: stride }, (_, first) => list.filter((_word, index) => index % stride === first)).flat();
}
