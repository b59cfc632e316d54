// From when on ended requests are settled once more after the store was away: what it had confirmed shortly before may be
// gone (docs/decisions/0021-what-redis-confirms.md).

/** What was confirmed longer before the loss of the connection is taken for kept. */
export const keptAfterMs = 15_000;
/** What could not be settled while the store was away is settled within this time of its return, under its older record. */
const catchesUpWithinMs = 60_000;
/** Not from longer ago, for settled ids are remembered for twice as long: nothing is charged twice. */
export const oldestRepeatMs = 3_600_000;

export interface Repeat {
  readonly fromMs: number;
  /** When the store had come back. */
  readonly atMs: number;
}

/** The repeat that is due at `nowMs`, when the store is back that was lost at `lostAtMs`. `last` is the one before. */
export function repeatAfter(lostAtMs: number, nowMs: number, last: Repeat | undefined): Repeat {
  const sinceLoss = lostAtMs - keptAfterMs;
  const fromMs = last && lostAtMs - last.atMs < catchesUpWithinMs ? Math.min(last.fromMs, sinceLoss) : sinceLoss;
  return { fromMs: Math.max(fromMs, nowMs - oldestRepeatMs), atMs: nowMs };
}
