// Ctrl-C and its kin: the first one stops everything in order, a second one at once. npm and a terminal may both
// deliver the same Ctrl-C, so what comes within a moment counts as one.

const sameMs = 1_000;

export interface StopHandling {
  readonly stop: () => Promise<void>;
  readonly kill: () => void;
  /** Ends the process. */
  readonly finish: (code: number) => void;
}

export interface Stopping {
  stopping(): boolean;
  /** Stops in order, then ends the process with `code`. */
  stop(code: number): Promise<void>;
}

export function onStopSignal(handling: StopHandling): Stopping {
  let beganAtMs: number | undefined;

  async function stop(code: number): Promise<void> {
    beganAtMs = Date.now();
    try {
      await handling.stop();
    } catch (error) {
      process.stderr.write(`${String(error)}\n`);
      handling.kill();
    }
    handling.finish(code);
  }

  for (const [signal, number] of [
    ['SIGINT', 2],
    ['SIGTERM', 15],
    ['SIGHUP', 1],
  ] as const) {
    process.on(signal, () => {
      if (beganAtMs === undefined) void stop(signal === 'SIGINT' ? 0 : 128 + number);
      else if (Date.now() - beganAtMs > sameMs) {
        handling.kill();
        handling.finish(128 + number);
      }
    });
  }
  return { stopping: () => beganAtMs !== undefined, stop };
}
