// Percentiles of a finished run, as reports print them.

export interface Summary {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** Nearest-rank percentile of ascending values; `share` in (0, 1]. NaN when there are none. */
export function percentile(ascending: readonly number[], share: number): number {
  if (ascending.length === 0) return Number.NaN;
  return ascending[Math.min(ascending.length - 1, Math.max(0, Math.ceil(share * ascending.length) - 1))] as number;
}

export function summarise(values: readonly number[]): Summary {
  const ascending = [...values].sort((a, b) => a - b);
  const at = (share: number) => percentile(ascending, share);
  const mean = ascending.reduce((sum, value) => sum + value, 0) / ascending.length;
  return { count: ascending.length, mean, p50: at(0.5), p90: at(0.9), p95: at(0.95), p99: at(0.99), max: at(1) };
}
