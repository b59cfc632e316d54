// A large JSON text without the most of its long strings: what Switchyard must know of a prompt is its beginning and its
// length, and decoding and parsing 200 KB of text costs more than all else the gateway does with it.
import { isUtf8 } from 'node:buffer';

const quote = 0x22;
const backslash = 0x5c;

/** Smaller texts are parsed as they are. */
const condensedFromBytes = 65_536;
/** Longer strings lose their end. */
const longBytes = 49_152;
/** What stays of them: at least so many bytes, less an escape. */
const keptBytes = 33_000;
/** The longest escape, \u0000. */
const escapeBytes = 6;

/** Stands in a condensed string before the number of bytes that were left out; a private-use character. */
const mark = '\uf8ff';
const markedEnd = /\uf8ff(\d{1,10})$/;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The text, its long strings cut. Undefined: it is not UTF-8. Long strings are not looked at beyond what is kept of them:
 * whether their escapes are valid is for the engine to say.
 */
export function condensedJson(bytes: Uint8Array): string | undefined {
  if (!isUtf8(bytes)) return undefined;
  if (bytes.length < condensedFromBytes) return decoder.decode(bytes);
  let text = '';
  let from = 0;
  for (let start = bytes.indexOf(quote); start >= 0; ) {
    const end = endOfString(bytes, start);
    if (end - start > longBytes) {
      const cut = cutBefore(bytes, start + 1 + keptBytes);
      text += `${decoder.decode(bytes.subarray(from, cut))}${mark}${end - cut}`;
      from = end;
    }
    start = bytes.indexOf(quote, end + 1);
  }
  return text + decoder.decode(bytes.subarray(from));
}

/** Characters of a string out of a condensed text, or bytes for the part that was left out. */
export function fullLength(text: string): number {
  const left = text.length > keptBytes / 4 ? markedEnd.exec(text) : null;
  return left ? left.index + Number(left[1]) : text.length;
}

/** The quote that ends the string; the end of the bytes when there is none. */
export function endOfString(bytes: Uint8Array, start: number): number {
  for (let at = bytes.indexOf(quote, start + 1); at >= 0; at = bytes.indexOf(quote, at + 1)) {
    let slashes = 0;
    while (bytes[at - 1 - slashes] === backslash) slashes++;
    if (slashes % 2 === 0) return at;
  }
  return bytes.length;
}

/** The last place up to `at` that is neither within a character nor within an escape. */
function cutBefore(bytes: Uint8Array, at: number): number {
  let slash = bytes.lastIndexOf(backslash, at - 1);
  if (slash + escapeBytes > at) {
    while (bytes[slash - 1] === backslash) slash--;
    return slash;
  }
  let cut = at;
  while ((bytes[cut]! & 0xc0) === 0x80) cut--;
  return cut;
}
