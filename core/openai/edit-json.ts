// Changes members of a JSON object's bytes and leaves every other byte as it is: numbers, escapes, spaces, order, duplicates.
import { endOfString } from './condensed-json.ts';

/** What becomes of a member, wherever its name stands in the object and however it is escaped. */
export type Edit =
  /** JSON text; a member that is not there is put last. */
  | { readonly set: string }
  /** JSON text, for a member that is there. */
  | { readonly swap: string }
  | { readonly drop: true }
  /** Its value is an object, or a list of objects, each of which is edited. A value of another kind is left as it is. */
  | { readonly within: Edits }
  /** The same for an object that is made when there is none. */
  | { readonly withinObject: Edits };

export type Edits = Readonly<Record<string, Edit>>;

interface Member {
  readonly edit: Edit | undefined;
  readonly start: number;
  readonly valueStart: number;
  /** Behind the value's last byte. */
  readonly end: number;
}

interface Patch {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

const decoder = new TextDecoder();
const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;

/** The object with these changes; the same bytes when there are none. `bytes` must be a valid JSON object. */
export function edited(bytes: Uint8Array, edits: Edits): Uint8Array {
  const patches: Patch[] = [];
  editObject(bytes, bytes.indexOf(openBrace), edits, patches);
  if (patches.length === 0) return bytes;
  const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const pieces: Uint8Array[] = [];
  let at = 0;
  for (const { start, end, text } of patches) {
    pieces.push(source.subarray(at, start));
    if (text !== '') pieces.push(Buffer.from(text));
    at = end;
  }
  pieces.push(source.subarray(at));
  return Buffer.concat(pieces);
}

/** Adds its patches in the order of their places; returns the place behind the object. */
function editObject(bytes: Uint8Array, open: number, edits: Edits, patches: Patch[]): number {
  const { members, close } = membersOf(bytes, open, edits);
  const lastKept = members.findLastIndex(({ edit }) => !isDrop(edit));
  members.forEach((member, index) => {
    if (isDrop(member.edit)) {
      // Behind the last kept member all go at once, with the comma before them.
      if (index < lastKept) patches.push({ start: member.start, end: members[index + 1]!.start, text: '' });
      else if (index === lastKept + 1)
        patches.push({ start: lastKept < 0 ? member.start : members[lastKept]!.end, end: members.at(-1)!.end, text: '' });
    } else if (member.edit) editValue(bytes, member, member.edit, patches);
  });
  const added = addedText(edits, members);
  if (added !== '') {
    const at = members.length === 0 ? open + 1 : members.at(-1)!.end;
    patches.push({ start: at, end: at, text: lastKept < 0 ? added : `,${added}` });
  }
  return close + 1;
}

function editValue(bytes: Uint8Array, { valueStart, end }: Member, edit: Edit, patches: Patch[]): void {
  if ('set' in edit || 'swap' in edit) {
    const text = 'set' in edit ? edit.set : edit.swap;
    if (decoder.decode(bytes.subarray(valueStart, end)) !== text) patches.push({ start: valueStart, end, text });
    return;
  }
  if ('drop' in edit) return;
  const inner = 'within' in edit ? edit.within : edit.withinObject;
  if (bytes[valueStart] === openBrace) editObject(bytes, valueStart, inner, patches);
  else if ('withinObject' in edit) patches.push({ start: valueStart, end, text: `{${newMembers(inner)}}` });
  else if (bytes[valueStart] === openBracket) editList(bytes, valueStart, inner, patches);
}

function editList(bytes: Uint8Array, open: number, edits: Edits, patches: Patch[]): void {
  let at = skipSpace(bytes, open + 1);
  while (at < bytes.length && bytes[at] !== closeBracket) {
    if (bytes[at] === openBrace) at = editObject(bytes, at, edits, patches);
    else at = skipValue(bytes, at);
    at = skipSpace(bytes, at);
    if (bytes[at] === comma) at = skipSpace(bytes, at + 1);
  }
}

function addedText(edits: Edits, members: readonly Member[]): string {
  const missing: Record<string, Edit> = {};
  let any = false;
  for (const name in edits) {
    const edit = edits[name]!;
    if (!('set' in edit || 'withinObject' in edit) || members.some((member) => member.edit === edit)) continue;
    missing[name] = edit;
    any = true;
  }
  return any ? newMembers(missing) : '';
}

function newMembers(edits: Edits): string {
  const texts: string[] = [];
  for (const [name, edit] of Object.entries(edits)) {
    if ('set' in edit) texts.push(`${JSON.stringify(name)}:${edit.set}`);
    else if ('withinObject' in edit) texts.push(`${JSON.stringify(name)}:{${newMembers(edit.withinObject)}}`);
  }
  return texts.join(',');
}

function isDrop(edit: Edit | undefined): boolean {
  return edit !== undefined && 'drop' in edit;
}

/** Most names are told apart by their length. */
function editOf(bytes: Uint8Array, from: number, to: number, edits: Edits): Edit | undefined {
  const raw = bytes.subarray(from, to);
  if (raw.includes(backslash)) {
    const name = JSON.parse(decoder.decode(raw)) as string;
    return Object.hasOwn(edits, name) ? edits[name] : undefined;
  }
  for (const name in edits) {
    if (Buffer.byteLength(name) + 2 === raw.length && decoder.decode(raw.subarray(1, -1)) === name) return edits[name];
  }
  return undefined;
}

function membersOf(bytes: Uint8Array, open: number, edits: Edits): { members: Member[]; close: number } {
  const members: Member[] = [];
  let at = open + 1;
  for (;;) {
    at = skipSpace(bytes, at);
    if (at >= bytes.length || bytes[at] === closeBrace) return { members, close: at };
    const nameEnd = endOfString(bytes, at) + 1;
    // Behind the colon.
    const valueStart = skipSpace(bytes, skipSpace(bytes, nameEnd) + 1);
    const end = skipValue(bytes, valueStart);
    members.push({ edit: editOf(bytes, at, nameEnd, edits), start: at, valueStart, end: trimEnd(bytes, end) });
    at = bytes[end] === comma ? end + 1 : end;
  }
}

/** From the start of a value to the comma or bracket that ends its member. */
function skipValue(bytes: Uint8Array, from: number): number {
  let depth = 0;
  let at = from;
  while (at < bytes.length) {
    const byte = bytes[at];
    if (byte === quote) {
      at = endOfString(bytes, at) + 1;
      continue;
    }
    if (depth === 0 && (byte === comma || byte === closeBrace || byte === closeBracket)) return at;
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
