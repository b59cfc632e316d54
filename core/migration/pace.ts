// Holding back when Temporal is slow: a plan that waits long for its workflow is made from a view that is no longer true.
// What is seen is smoothed and forgotten over time, so that a slow minute does not stop rebalancing for good.
export interface Pace {
  /** Time between asking for a migration and its first step, as seen lately, ms. */
  readonly delayMs: number;
  readonly seenAtMs: number;
}

export interface PaceLimits {
  /** Rebalancing starts nothing while the delay is above this, ms. */
  readonly maxDelayMs: number;
  /** After this long without a new sighting the delay counts half, ms. */
  readonly halfLifeMs: number;
}

const newShare = 0.3;

export function startPace(nowMs: number): Pace {
  return { delayMs: 0, seenAtMs: nowMs };
}

/** The delay as it counts now, ms. */
export function currentDelayMs(pace: Pace, nowMs: number, limits: PaceLimits): number {
  return pace.delayMs * 0.5 ** (Math.max(0, nowMs - pace.seenAtMs) / limits.halfLifeMs);
}

export function sawDelay(pace: Pace, delayMs: number, nowMs: number, limits: PaceLimits): Pace {
  const before = currentDelayMs(pace, nowMs, limits);
  return { delayMs: before + newShare * (Math.max(0, delayMs) - before), seenAtMs: nowMs };
}

export function isTooSlow(pace: Pace, nowMs: number, limits: PaceLimits): boolean {
  return currentDelayMs(pace, nowMs, limits) > limits.maxDelayMs;
}
