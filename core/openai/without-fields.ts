// Takes members out of a JSON object's bytes and leaves every other byte as it is: numbers, escapes, spaces, duplicates.

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;

interface Member {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** The object without its top-level members of these names, however their names are escaped. `bytes` must be a valid JSON object. */
export function withoutFields(bytes: Uint8Array, names: readonly string[]): Uint8Array {
  const members = topLevelMembers(bytes);
  const kept = members.filter((member) => !names.includes(member.name));
  if (kept.length === members.length) return bytes;
  const pieces: Uint8Array[] = [bytes.subarray(0, members[0]!.start)];
  for (const member of kept) {
    const next = members[members.indexOf(member) + 1];
    const last = member === kept.at(-1);
    pieces.push(bytes.subarray(member.start, last ? member.end : next!.start));
  }
  pieces.push(bytes.subarray(members.at(-1)!.end));
  return concat(pieces);
}

function topLevelMembers(bytes: Uint8Array): Member[] {
  const members: Member[] = [];
  let at = bytes.indexOf(openBrace) + 1;
  for (;;) {
    at = skipSpace(bytes, at);
    if (at >= bytes.length || bytes[at] === closeBrace) return members;
    const nameEnd = skipString(bytes, at);
    const end = skipValue(bytes, nameEnd);
    members.push({ name: JSON.parse(new TextDecoder().decode(bytes.subarray(at, nameEnd))) as string, start: at, end: trimEnd(bytes, end) });
    at = bytes[end] === comma ? end + 1 : end;
  }
}

/** From the end of a name to the comma or brace that ends its member. */
function skipValue(bytes: Uint8Array, from: number): number {
  let depth = 0;
  let at = from;
  while (at < bytes.length) {
    const byte = bytes[at];
    if (byte === quote) {
      at = skipString(bytes, at);
      continue;
    }
    if (depth === 0 && (byte === comma || byte === closeBrace)) return at;
    if (byte === openBrace || byte === openBracket) depth++;
    else if (byte === closeBrace || byte === closeBracket) depth--;
    at++;
  }
  return at;
}

function skipString(bytes: Uint8Array, from: number): number {
  let at = from + 1;
  while (at < bytes.length && bytes[at] !== quote) at += bytes[at] === backslash ? 2 : 1;
  return at + 1;
}

function skipSpace(bytes: Uint8Array, from: number): number {
  let at = from;
  while (isSpace(bytes[at])) at++;
  return at;
}

function trimEnd(bytes: Uint8Array, end: number): number {
  let at = end;
  while (isSpace(bytes[at - 1])) at--;
  return at;
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

function concat(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
