// Bounds that every store keeps, and the first epoch of a lease.

/** Entries that `list` returns at most; the rest is left out. */
export const maxListed = 10_000;

const epochOriginMs = 1_700_000_000_000;

/**
 * A new owner's epoch: one more than the last, and at least the seconds since November 2023. The seconds keep epochs
 * growing when the store has lost data (docs/decisions/0011-lease-epochs.md).
 */
export function nextEpoch(lastEpoch: number, nowMs: number): number {
  return Math.max(lastEpoch + 1, Math.floor((nowMs - epochOriginMs) / 1000));
}
