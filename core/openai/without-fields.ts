// Takes members out of a JSON object's bytes and leaves every other byte as it is: numbers, escapes, spaces, duplicates.
import { endOfString } from './condensed-json.ts';

const decoder = new TextDecoder();
const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;

interface Member {
  readonly dropped: boolean;
  readonly start: number;
  readonly end: number;
}

/** The object without its top-level members of these names, however their names are escaped. `bytes` must be a valid JSON object. */
export function withoutFields(bytes: Uint8Array, names: readonly string[]): Uint8Array {
  const members = topLevelMembers(bytes, names);
  if (!members.some(({ dropped }) => dropped)) return bytes;
  const last = members.findLast(({ dropped }) => !dropped);
  const pieces: Uint8Array[] = [bytes.subarray(0, members[0]!.start)];
  for (const [index, member] of members.entries()) {
    if (member.dropped) continue;
    pieces.push(bytes.subarray(member.start, member === last ? member.end : members[index + 1]!.start));
  }
  pieces.push(bytes.subarray(members.at(-1)!.end));
  return concat(pieces);
}

/** Whether the name between `from` and `to`, quotes included, is one of `names`. Most are told apart by their length. */
function isNamed(bytes: Uint8Array, from: number, to: number, names: readonly string[]): boolean {
  const raw = bytes.subarray(from, to);
  if (!raw.includes(backslash) && !names.some((name) => Buffer.byteLength(name) + 2 === raw.length)) return false;
  return names.includes(JSON.parse(decoder.decode(raw)) as string);
}

function topLevelMembers(bytes: Uint8Array, names: readonly string[]): Member[] {
  const members: Member[] = [];
  let at = bytes.indexOf(openBrace) + 1;
  for (;;) {
    at = skipSpace(bytes, at);
    if (at >= bytes.length || bytes[at] === closeBrace) return members;
    const nameEnd = endOfString(bytes, at) + 1;
    const end = skipValue(bytes, nameEnd);
    members.push({ dropped: isNamed(bytes, at, nameEnd, names), start: at, end: trimEnd(bytes, end) });
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
      at = endOfString(bytes, at) + 1;
      continue;
    }
    if (depth === 0 && (byte === comma || byte === closeBrace)) return at;
    if (byte === openBrace || byte === openBracket) depth++;
    else if (byte === closeBrace || byte === closeBracket) depth--;
    at++;
  }
  return at;
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
