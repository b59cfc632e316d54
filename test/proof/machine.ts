// How late this machine itself is while a row runs: others may be at work on it, and no service can be faster than its
// timers. Limits of time add it, and the rows print it.

const everyMs = 10;

/** @returns ends the watch; the given percentile of how late a timer of 10 ms was, ms */
export function watchTimers(): (percent: number) => number {
  const late: number[] = [];
  let lastMs = performance.now();
  const timer = setInterval(() => {
    const nowMs = performance.now();
    late.push(Math.max(0, nowMs - lastMs - everyMs));
    lastMs = nowMs;
  }, everyMs);
  return (percent) => {
    clearInterval(timer);
    return percentile(late, percent);
  };
}

/** 0 of nothing. */
export function percentile(values: readonly number[], percent: number): number {
  return values.toSorted((a, b) => a - b)[Math.ceil((values.length * percent) / 100) - 1] ?? 0;
}
