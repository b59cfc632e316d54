// The arithmetic of the benches: percentiles, medians, ratios, and how a number is shown.

/** Nearest rank on the sorted values; NaN when there are none. */
export function percentile(values: readonly number[], share: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))]!;
}

/** Mean of the middle two when the count is even; NaN when there are none. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** `value` in units of `base`; NaN when the base was not measured or is nothing. */
export function ratio(value: number, base: number): number {
  return base > 0 ? value / base : Number.NaN;
}

/** (highest - lowest) / median: how far apart rounds of one measurement are. */
export function spread(values: readonly number[]): number {
  return ratio(Math.max(...values) - Math.min(...values), median(values));
}

/** Three significant digits, thousands separated; a dash for what was not measured. */
export function shown(value: number | string | null): string {
  if (typeof value === 'string') return value;
  if (value === null || Number.isNaN(value)) return '-';
  if (value === 0 || Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  return String(Number(value.toPrecision(3)));
}
