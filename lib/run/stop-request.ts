// When a process is asked to end: SIGTERM, SIGINT, or its supervisor being gone. Asked twice, it ends at once.
import type { Logger } from '../ports/telemetry.ts';

/** `watchParent`: standard input is a pipe from the supervisor, which closes when that ends, however it ended. */
export function onStopRequest(watchParent: boolean, log: Logger, stop: (why: string) => void): void {
  let asked = false;
  const ask = (why: string, insist: boolean) => {
    if (asked) {
      if (!insist) return;
      log.warn('asked to end a second time, ending at once', { why });
      process.exit(1);
    }
    asked = true;
    stop(why);
  };
  process.on('SIGTERM', () => ask('SIGTERM', true));
  process.on('SIGINT', () => ask('SIGINT', true));
  if (!watchParent) return;
  process.stdin.on('end', () => ask('the supervisor is gone', false));
  process.stdin.on('error', () => ask('the supervisor is gone', false));
  process.stdin.resume();
}
