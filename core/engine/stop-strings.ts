// Stop strings in a growing text. No character of one, nor any after it, may be shown, also when it straddles tokens: text
// that may be the beginning of a stop string is held back until it is known not to be one.

export interface Showable {
  /** Length of the text that may be shown. Never shrinks as text grows. */
  readonly length: number;
  /** A stop string has come; what may be shown ends before it. */
  readonly stopped: boolean;
}

/** `known` characters at the beginning are known to hold no stop string that ends within them. */
export function showable(text: string, stops: readonly string[], known = 0): Showable {
  let stopAt = Number.POSITIVE_INFINITY;
  for (const stop of stops) {
    const at = text.indexOf(stop, Math.max(0, known - stop.length + 1));
    if (at >= 0 && at < stopAt) stopAt = at;
  }
  if (stopAt < Number.POSITIVE_INFINITY) return { length: stopAt, stopped: true };
  let held = 0;
  for (const stop of stops) held = Math.max(held, beginningAtEnd(text, stop));
  return { length: text.length - held, stopped: false };
}

/** Length of the longest beginning of `stop` that the text ends with. */
function beginningAtEnd(text: string, stop: string): number {
  for (let length = Math.min(stop.length - 1, text.length); length > 0; length--) {
    if (text.endsWith(stop.slice(0, length))) return length;
  }
  return 0;
}
