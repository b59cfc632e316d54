// Holt's linear smoothing for samples at uneven times: a level and its slope.
export interface Trend {
  readonly level: number;
  /** Per ms. */
  readonly slope: number;
  /** Of the newest sample. */
  readonly atMs: number;
}

export interface Smoothing {
  /** Weight of a new sample in the level, 0 to 1. */
  readonly levelWeight: number;
  /** Weight of a new difference in the slope, 0 to 1. */
  readonly slopeWeight: number;
}

/** A sample that is not newer than the last one is ignored. */
export function observe(trend: Trend | undefined, value: number, atMs: number, smoothing: Smoothing): Trend {
  if (!trend) return { level: value, slope: 0, atMs };
  const elapsedMs = atMs - trend.atMs;
  if (elapsedMs <= 0) return trend;
  const expected = trend.level + trend.slope * elapsedMs;
  const level = expected + smoothing.levelWeight * (value - expected);
  const slope = trend.slope + smoothing.slopeWeight * ((level - trend.level) / elapsedMs - trend.slope);
  return { level, slope, atMs };
}

/** The value `horizonMs` after the newest sample. */
export function extrapolate(trend: Trend, horizonMs: number): number {
  return trend.level + trend.slope * horizonMs;
}
