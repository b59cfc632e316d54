// How an answer differs from the one expected, in counts of tokens: which ones are missing, came twice, or are others.

export interface Deviation {
  /** Expected, and passed over. */
  readonly lost: number;
  /** The tokens before them once more. */
  readonly repeated: number;
  /** Anything else: wrong ones, or right ones in another place. */
  readonly misplaced: number;
}

export const noDeviation: Deviation = { lost: 0, repeated: 0, misplaced: 0 };

/** Tokens that must agree again before a difference counts as over. Fewer agree by accident. */
const agreeing = 3;
/** How far a difference is followed. Beyond it the rest of the answer is misplaced. */
const reach = 256;

/** @param whole the answer claims to be complete: what it lacks at the end is lost too */
export function compareTokens(expectedText: string, receivedText: string, whole: boolean): Deviation {
  if (expectedText === receivedText) return noDeviation;
  const expected = tokens(expectedText);
  const received = tokens(receivedText);
  const counts = { lost: 0, repeated: 0, misplaced: 0 };
  let at = 0;
  let have = 0;
  while (at < expected.length && have < received.length) {
    if (expected[at] === received[have]) {
      at++;
      have++;
      continue;
    }
    const skipped = distance((gap) => agree(expected, at + gap, received, have));
    const extra = distance((gap) => agree(expected, at, received, have + gap));
    if (skipped === undefined && extra === undefined) break;
    if (extra === undefined || (skipped !== undefined && skipped <= extra)) {
      counts.lost += skipped!;
      at += skipped!;
    } else {
      const again = at >= extra && same(expected, at - extra, received, have, extra);
      counts[again ? 'repeated' : 'misplaced'] += extra;
      have += extra;
    }
  }
  counts.misplaced += received.length - have;
  if (whole) counts.lost += expected.length - at;
  return counts;
}

/** Every token's text is a space and a word. */
function tokens(text: string): string[] {
  return text.split(' ').slice(1);
}

function distance(fits: (gap: number) => boolean): number | undefined {
  for (let gap = 1; gap <= reach; gap++) if (fits(gap)) return gap;
  return undefined;
}

/** Up to the shorter one's end, but at least one token. */
function agree(expected: readonly string[], at: number, received: readonly string[], have: number): boolean {
  const length = Math.min(agreeing, expected.length - at, received.length - have);
  return length > 0 && same(expected, at, received, have, length);
}

function same(expected: readonly string[], at: number, received: readonly string[], have: number, length: number): boolean {
  for (let step = 0; step < length; step++) if (expected[at + step] !== received[have + step]) return false;
  return true;
}
