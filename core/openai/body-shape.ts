// Whether a large JSON text would keep the process from everything else while it is parsed: 20 MB of text in few strings
// take milliseconds, of short members or brackets they take seconds.

import { endOfString } from './condensed-json.ts';

const quote = 0x22;
const colon = 0x3a;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;

/** Smaller bodies are parsed soon enough, whatever they hold. */
const alwaysSimpleBytes = 1_000_000;
export const maxMembers = 100_000;
export const maxDepth = 500;

/** Looks at no more than it takes to know. */
export function isTooComplex(bytes: Uint8Array): boolean {
  if (bytes.length <= alwaysSimpleBytes) return false;
  let members = 0;
  let depth = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === quote) at = endOfString(bytes, at);
    else if (byte === colon && ++members > maxMembers) return true;
    else if ((byte === openBrace || byte === openBracket) && ++depth > maxDepth) return true;
    else if (byte === closeBrace || byte === closeBracket) depth--;
  }
  return false;
}
