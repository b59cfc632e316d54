// What waits, pool by pool, as the owners of the queues tell it. Bounded by the pools of the fleet file; what has not been
// heard of for a while says how old it is.
import { queueStatus } from '../../lib/contracts.ts';
import type { QueueRow } from '../../lib/operator/types.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { QueueStatus } from '../../proto/gen/messages.ts';

export interface Queues {
  /** By pool. */
  rows(): QueueRow[];
  stop(): Promise<void>;
}

export function watchQueues({ bus, clock }: Pick<Ports, 'bus' | 'clock'>, pools: readonly string[]): Queues {
  const newest = new Map<string, QueueStatus>();
  const listening = bus.subscribe(queueStatus, ['*'], (status, { keys }) => {
    const pool = keys[0] ?? '';
    const known = newest.get(pool);
    const older = known && (status.epoch < known.epoch || (status.epoch === known.epoch && status.version < known.version));
    if (pools.includes(pool) && status.pool === pool && !older) newest.set(pool, status);
  });
  return {
    rows: () =>
      [...newest.values()]
        .sort((a, b) => (a.pool < b.pool ? -1 : 1))
        .map(({ pool, ownerId, classes, limit, saturation, drainedPerSecond, atMs }) => ({
          pool,
          owner: ownerId,
          waiting: classes.reduce((sum, { requests }) => sum + requests, 0),
          classes,
          limit,
          saturation,
          drainedPerSecond,
          ageMs: Math.max(0, clock.now() - atMs),
        })),
    stop: () => listening.stop(),
  };
}
