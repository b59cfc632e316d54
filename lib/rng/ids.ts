// The shape of identifiers, shared by all generators.
const alphabet = '0123456789abcdefghijklmnopqrstuvwxyz';
export const idCharacters = 20;

/** `prefix` and 20 characters of [0-9a-z]. `next` gives numbers in [0, 1). */
export function idFrom(prefix: string, next: () => number): string {
  let id = prefix;
  for (let n = 0; n < idCharacters; n++) id += alphabet[Math.floor(next() * 36)];
  return id;
}
