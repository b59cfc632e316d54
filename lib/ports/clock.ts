// Time as a port: production uses the machine's clock, tests and the simulator a virtual one.

export type Cancel = () => void;

export interface Clock {
  /** Unix milliseconds, fractional. Never goes back within a process. */
  now(): number;
  /** Calls `run` once after `delayMs` (0 or more). The returned function cancels and may be called twice. */
  after(delayMs: number, run: () => void): Cancel;
}

/** Resolves after `delayMs`, or at once when `signal` aborts. Never rejects. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = () => {
      cancel();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const cancel = clock.after(delayMs, finish);
    signal?.addEventListener('abort', finish, { once: true });
  });
}

/** Calls `run` every `intervalMs` until cancelled; the next call is timed from the end of the last one. */
export function every(clock: Clock, intervalMs: number, run: () => void): Cancel {
  let cancel = clock.after(intervalMs, tick);
  let stopped = false;
  function tick(): void {
    if (stopped) return;
    cancel = clock.after(intervalMs, tick);
    run();
  }
  return () => {
    stopped = true;
    cancel();
  };
}
