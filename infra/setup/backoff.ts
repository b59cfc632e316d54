// How long to wait before a crashed process is started again.

export interface Backoff {
  /** Of the first restart; doubles with every crash in a row. */
  readonly firstMs: number;
  /** Restarts go on for ever, at most this far apart. */
  readonly maxMs: number;
  /** A process that ran this long has recovered: its next crash is a first one again. */
  readonly settledMs: number;
}

export const restartBackoff: Backoff = { firstMs: 500, maxMs: 30_000, settledMs: 60_000 };

/** The crashes in a row so far, this one included, and the wait before the next start. */
export function nextRestart(backoff: Backoff, crashesBefore: number, ranMs: number): { crashes: number; delayMs: number } {
  const crashes = ranMs >= backoff.settledMs ? 1 : crashesBefore + 1;
  return { crashes, delayMs: Math.min(backoff.maxMs, backoff.firstMs * 2 ** Math.min(crashes - 1, 30)) };
}
