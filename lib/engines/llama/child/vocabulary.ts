// The bytes of every token of a model, from the text that its vocabulary has for it. With bytes a piece of an answer is known
// to be whole characters or not, wherever the cut is.

import type { Vocabulary } from './messages.ts';
import type { Model } from './package.ts';

/** Kinds of tokens as llama.cpp numbers them (llama.h, llama_token_attr). */
const unknownToken = 1;
const controlToken = 8;
const userDefinedToken = 16;
const byteToken = 32;

/** @throws Error for a kind of vocabulary whose texts are not known to be turned into bytes so */
export function vocabularyOf(model: Model, size: number): Vocabulary {
  const bytesOfText = readerOf(model.vocabularyType);
  const parts: Uint8Array[] = [];
  const ends = new Uint32Array(size);
  let end = 0;
  for (let id = 0; id < size; id++) {
    const bytes = bytesOfToken(model._model.getTokenString(id), model._model.getTokenAttributes(id), bytesOfText);
    parts.push(bytes);
    end += bytes.length;
    ends[id] = end;
  }
  return { bytes: Buffer.concat(parts), ends };
}

export function bytesOfToken(text: string, attributes: number, bytesOfText: (text: string) => Uint8Array): Uint8Array {
  if ((attributes & (controlToken | unknownToken)) !== 0) return new Uint8Array(0);
  if ((attributes & byteToken) !== 0) return Uint8Array.of(Number.parseInt(text.slice(3, 5), 16));
  if ((attributes & userDefinedToken) !== 0) return Buffer.from(text);
  return bytesOfText(text);
}

/** How texts of normal tokens are written, by the kind of vocabulary. */
export function readerOf(vocabularyType: string): (text: string) => Uint8Array {
  if (vocabularyType === 'spm') return (text) => Buffer.from(text.replaceAll('\u2581', ' '));
  if (vocabularyType === 'bpe') {
    const byteOf = byteLevelAlphabet();
    return (text) => Uint8Array.from(text, (character) => byteOf.get(character)!).filter((byte) => byte !== undefined);
  }
  throw new Error(`its vocabulary is of the kind ${vocabularyType}: this engine reads those of the kinds spm and bpe`);
}

/**
 * The characters that stand for bytes in byte-level vocabularies: printable ones for themselves, all others for characters
 * from U+0100 on, in order (openai/gpt-2, encoder.py, bytes_to_unicode).
 */
function byteLevelAlphabet(): Map<string, number> {
  const isPrintable = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  const byteOf = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) byteOf.set(String.fromCodePoint(isPrintable(byte) ? byte : next++), byte);
  return byteOf;
}
