// The machine's clock. Fractional milliseconds from the monotonic clock, anchored to the wall clock.
import type { Clock } from '../ports/clock.ts';

/** setTimeout fires at once above this, so longer delays are made of several. */
const longestTimerMs = 2 ** 31 - 1;
/** When the wall clock was set or has drifted by more than this, the anchor follows it. */
const largestDriftMs = 20;

/** In fractions of a millisecond too: processes of one machine agree on the time. */
let anchorMs = performance.timeOrigin;
let latestMs = 0;

function now(): number {
  const monotonicMs = performance.now();
  const wallMs = Date.now();
  if (Math.abs(wallMs - anchorMs - monotonicMs) > largestDriftMs) anchorMs = wallMs - monotonicMs;
  // After the wall clock was set back, time stands still here until it has caught up.
  latestMs = Math.max(latestMs, anchorMs + monotonicMs);
  return latestMs;
}

export const systemClock: Clock = {
  now,
  after(delayMs, run) {
    if (Number.isNaN(delayMs)) throw new RangeError('a timer needs a time');
    if (delayMs <= 0) {
      const turn = setImmediate(run);
      return () => clearImmediate(turn);
    }
    // Measured on the monotonic clock: setting the wall clock neither hurries nor delays a timer. Node may fire a
    // fraction of a millisecond early, which would show callers a time before the one they asked for.
    const dueMs = performance.now() + Math.max(0, delayMs);
    let timer = setTimeout(tick, nextDelayMs(dueMs));
    function tick(): void {
      if (performance.now() >= dueMs) run();
      else timer = setTimeout(tick, nextDelayMs(dueMs));
    }
    return () => clearTimeout(timer);
  },
};

function nextDelayMs(dueMs: number): number {
  return Math.min(longestTimerMs, Math.max(0, Math.ceil(dueMs - performance.now())));
}
