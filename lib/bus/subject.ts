// Subjects: a pattern of tokens separated by dots, in which `*` stands for one key.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';

/** What NATS would read as structure, control characters, and the escape itself. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: a key may hold any character
const special = /[\u0000-\u0020\u007f.*>%]/g;

const plain = /^[\w-]+$/;
/** Keys are ids. A NATS server closes the connection of whoever sends it a line of more than 4 KB, subject included. */
const maxKeyCharacters = 256;

/** A key as one token. Keys may hold any character; `*` alone means every key. @throws SwitchyardError `invalid_request` for an empty key or a too long one */
function token(key: string): string {
  if (key === '') throw new SwitchyardError('invalid_request', 'a key of a subject is empty');
  if (key.length > maxKeyCharacters) throw new SwitchyardError('invalid_request', `a key of a subject is longer than ${maxKeyCharacters} characters`);
  if (key === '*') return key;
  if (plain.test(key)) return key;
  return key.toWellFormed().replace(special, (character) => `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** The pattern with its `*` replaced in order. @throws Error when there are more or fewer keys than `*` */
export function subjectOf(pattern: string, keys: readonly string[]): string {
  let between = fixedParts.get(pattern);
  if (!between) {
    between = pattern.split(/(?<=^|\.)\*(?=\.|$)/);
    fixedParts.set(pattern, between);
  }
  if (between.length - 1 !== keys.length) throw new Error(`subject ${pattern} takes ${between.length - 1} keys, got ${keys.length}`);
  let subject = between[0]!;
  for (let index = 0; index < keys.length; index++) subject += token(keys[index]!) + between[index + 1]!;
  return subject;
}

/** What stands between the `*` of each pattern. Patterns are constants of lib/contracts.ts. */
const fixedParts = new Map<string, readonly string[]>();

/** What the pattern's `*` stand for in a subject that matches it. */
export function keysOf(pattern: string, subject: string): readonly string[] {
  const known = knownKeys.get(pattern) ?? new Map<string, readonly string[]>();
  if (known.size === 0) knownKeys.set(pattern, known);
  let keys = known.get(subject);
  if (!keys) {
    const parts = subject.split('.');
    keys = pattern.split('.').flatMap((part, index) => (part === '*' ? [unescaped(parts[index] ?? '')] : []));
    if (known.size >= maxKnownSubjects) known.clear();
    known.set(subject, keys);
  }
  return keys;
}

/** Keys of the subjects that came lately, by pattern. At the limit all of a pattern are forgotten, and worked out again. */
const knownKeys = new Map<string, Map<string, readonly string[]>>();
const maxKnownSubjects = 4_096;

/** Text without its percent-escapes; as it is when they make no sense. */
export function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Whether a subject matches a pattern whose tokens may be `*`. */
export function matches(pattern: string, subject: string): boolean {
  if (pattern === subject) return true;
  const wanted = pattern.split('.');
  const parts = subject.split('.');
  return wanted.length === parts.length && wanted.every((part, index) => part === '*' || part === parts[index]);
}
