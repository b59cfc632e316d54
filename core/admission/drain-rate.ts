// How fast a queue drains, and from it when a refused request should come back.

/** Time over which the rate forgets. */
const memoryMs = 5_000;
const shortestMs = 100;
/** Clients obey a retry-after of up to a minute. */
const longestMs = 60_000;

export interface DrainRate {
  readonly perMs: number;
  readonly atMs: number;
}

export function noDrain(nowMs: number): DrainRate {
  return { perMs: 0, atMs: nowMs };
}

/** `count` requests left the queue for an instance. An exponential average in rational form, so that a replay gives the same bits. */
export function drained(rate: DrainRate, count: number, nowMs: number): DrainRate {
  const elapsedMs = Math.max(0, nowMs - rate.atMs);
  const kept = memoryMs / (memoryMs + elapsedMs);
  return { perMs: rate.perMs * kept + count / memoryMs, atMs: nowMs };
}

/** When a queue of `depth` will have gone at this rate, ms: 100 to 60,000, and 1,000 when nothing has drained yet. */
export function retryAfterMs(rate: DrainRate, depth: number, nowMs: number): number {
  const perMs = drained(rate, 0, nowMs).perMs;
  if (perMs <= 0) return 1_000;
  return Math.min(longestMs, Math.max(shortestMs, Math.ceil((depth + 1) / perMs)));
}
