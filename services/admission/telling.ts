// Tells what waits in the queue: while anything waits it is looked at every `statusMs` and told when it differs, and it
// is told every `heartbeatMs` in any case, so that a lost message is soon repaired. Sampled, so that a request which is
// placed at once is no news.
import { drained } from '../../core/admission/drain-rate.ts';
import { queuedClasses, sameQueue } from '../../core/admission/queue-status.ts';
import type { RequestInfo } from '../../proto/gen/messages.ts';
import { capacityOf } from './dispatching.ts';
import type { PoolState, Turn } from './pool-state.ts';

/** Called after every message. */
export function tellStatus({ state, nowMs, effects }: Turn): void {
  const { told, config, pool, ownerEpoch } = state;
  if (ownerEpoch === undefined) return;
  told.lookAtMs = isQuiet(state) ? undefined : (told.lookAtMs ?? nowMs + config.statusMs);
  if (nowMs < nextTellMs(state)) return;
  told.lookAtMs = nowMs + config.statusMs;
  const blockTokens = blockTokensOf(state);
  const classes = queuedClasses(waitingRequests(state), blockTokens);
  if (nowMs < told.atMs + config.heartbeatMs && sameQueue(classes, told.classes)) return;
  told.atMs = nowMs;
  told.version += 1;
  told.classes = classes;
  effects.push({
    type: 'tellQueue',
    status: {
      pool,
      epoch: ownerEpoch,
      version: told.version,
      atMs: nowMs,
      classes,
      blockTokens,
      limit: config.maxQueued,
      saturation: capacityOf(state).saturation,
      drainedPerSecond: drained(state.drainRate, 0, nowMs).perMs * 1_000,
    },
  });
}

/** When the queue is to be looked at or told again. */
export function nextTellMs({ told, config }: PoolState): number {
  return Math.min(told.atMs + config.heartbeatMs, told.lookAtMs ?? Number.POSITIVE_INFINITY);
}

/** Nothing waits, and nobody has been told otherwise. */
function isQuiet({ queue, batch, told }: PoolState): boolean {
  return queue.size === 0 && !batch && told.classes.every(({ requests }) => requests === 0);
}

function* waitingRequests({ entries }: PoolState): Generator<RequestInfo> {
  for (const { phase, request } of entries.values()) if (phase === 'queued' || phase === 'routing') yield request;
}

/** Block size of the first instance that has one: instances of a pool are alike. */
function blockTokensOf({ fleet, pool }: PoolState): number {
  return fleet.pool(pool).numbers.blockTokens.find((blockTokens) => blockTokens > 0) ?? 0;
}
