// What every long activity does: says that it lives while it waits, and stops when it is told to.
import { SwitchyardError } from '../core/errors/switchyard-error.ts';
import type { ActivityContext } from '../core/workflows/control.ts';
import { type Clock, every } from '../lib/ports/clock.ts';

const heartbeatEveryMs = 1_000;

/**
 * Waits for `work`, with heartbeats that carry `progress()`.
 * @throws SwitchyardError `cancelled` as soon as the activity is told to stop; `work` itself goes on unheard
 */
export async function whileAlive<T>(clock: Clock, context: ActivityContext, progress: () => unknown, work: Promise<T>): Promise<T> {
  const stopHeartbeat = every(clock, heartbeatEveryMs, () => context.heartbeat(progress()));
  let onAbort = () => {};
  const stopped = new Promise<never>((_, reject) => {
    onAbort = () => reject(new SwitchyardError('cancelled', 'the activity was told to stop'));
    if (context.signal.aborted) onAbort();
    else context.signal.addEventListener('abort', onAbort, { once: true });
  });
  work.catch(() => {});
  try {
    return await Promise.race([work, stopped]);
  } finally {
    stopHeartbeat();
    context.signal.removeEventListener('abort', onAbort);
  }
}
