// From the queue to the router and back. One batch at a time; what the router cannot place goes back to where it was.
import { type PoolCapacity, poolCapacity } from '../../core/admission/capacity.ts';
import { codes } from '../../core/errors/codes.ts';
import { fromRefusal, refusal } from '../../core/errors/switchyard-error.ts';
import { blocksWanted } from '../../core/routing/candidate.ts';
import type { RouteResult } from '../../proto/gen/messages.ts';
import { assign, itemOf, refuse } from './entries.ts';
import { loseQueue } from './owning.ts';
import type { Entry, PoolMessage, PoolState, Turn } from './pool-state.ts';

/** Longest pause between two tries when no router answers. */
const longestBackOffMs = 1_000;

/** Sends the whole dispatchable batch, if there is one and none is under way. Called after every message. */
export function dispatch(turn: Turn): void {
  const { state, nowMs, effects } = turn;
  if (state.ownerEpoch === undefined || state.batch || state.queue.size === 0 || nowMs < state.dispatchAtMs) return;
  const capacity = capacityOf(state);
  if (capacity.instances === 0) return;
  const taken = state.queue.take(capacity.room, state.config.maxBatch, nowMs);
  if (taken.length === 0) return;
  const requests = taken.map(({ requestId }) => {
    const entry = state.entries.get(requestId)!;
    entry.phase = 'routing';
    return entry.request;
  });
  state.batches += 1;
  state.batch = { id: state.batches, requestIds: requests.map(({ requestId }) => requestId) };
  effects.push({ type: 'route', batch: state.batches, epoch: state.ownerEpoch, requests, ended: state.heardEnded.splice(0) });
}

/** Room in the pool now. */
export function capacityOf(state: PoolState): PoolCapacity {
  const table = state.fleet.pool(state.pool);
  if (state.capacity?.of !== table || state.capacity.version !== table.version) {
    state.capacity = { of: table, version: table.version, value: poolCapacity(table, state.config.allowedWaiting) };
  }
  return state.capacity.value;
}

export function routed(turn: Turn, { batch, results }: Extract<PoolMessage, { type: 'routed' }>): void {
  const { state } = turn;
  if (state.batch?.id !== batch) return;
  state.routeFailures = 0;
  const byId = new Map(results.map((result) => [result.requestId, result]));
  for (const entry of endBatch(turn)) {
    const result = byId.get(entry.request.requestId);
    if (result?.assignment?.epoch === entry.request.epoch + 1) assign(turn, entry, result.assignment, blocksOf(turn, entry, result));
    else notPlaced(turn, entry, result);
  }
}

/** No router answered, or none would: everything goes back and is tried again under the same ids. */
export function routeFailed(turn: Turn, { batch, code }: Extract<PoolMessage, { type: 'routeFailed' }>): void {
  const { state, nowMs } = turn;
  if (state.batch?.id !== batch) return;
  state.routeFailures += 1;
  for (const entry of endBatch(turn)) putBack(turn, entry, 0);
  state.dispatchAtMs = nowMs + Math.min(longestBackOffMs, (state.config.retryMs / 2) * 2 ** Math.min(10, state.routeFailures));
  if (code === 'stale_epoch') {
    loseQueue(turn);
    turn.effects.push({ type: 'stepDown' });
  }
}

/** The requests of the batch that are still wanted, in its order. */
function endBatch({ state }: Turn): Entry[] {
  const ids = state.batch?.requestIds ?? [];
  state.batch = undefined;
  return ids.flatMap((requestId) => {
    const entry = state.entries.get(requestId);
    return entry?.phase === 'routing' ? [entry] : [];
  });
}

function notPlaced(turn: Turn, entry: Entry, result: RouteResult | undefined): void {
  const no = result?.refusal ?? refusal('no_instance', 'the router gave no answer for this request');
  const { code } = fromRefusal(no);
  if (codes[code].retryable) putBack(turn, entry, turn.nowMs + turn.state.config.retryMs);
  else refuse(turn, entry.request.requestId, no);
}

/** It keeps its place in the order; until `notBeforeMs` others may pass. */
function putBack(turn: Turn, entry: Entry, notBeforeMs: number): void {
  entry.phase = 'queued';
  turn.state.queue.putBack(itemOf(turn.state, entry.request), notBeforeMs);
}

function blocksOf({ state }: Turn, { request }: Entry, { assignment }: RouteResult): number {
  const place = state.fleet.placeOf(assignment!.instanceId);
  return blocksWanted(request, place?.table.numbers.blockTokens[place.row] ?? 16);
}
