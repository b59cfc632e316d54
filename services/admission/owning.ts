// Gaining and losing the queue. A new owner starts with an empty queue: gateways ask again at once, and requests keep
// their arrival times and with them their places.

import { waited } from './entries.ts';
import type { Turn } from './pool-state.ts';

export function gainQueue({ state, nowMs, effects }: Turn, epoch: number): void {
  state.ownerEpoch = epoch;
  // The first to come back must not take the place of an earlier one that is still on its way.
  state.dispatchAtMs = nowMs + state.config.regatherMs;
  state.routeFailures = 0;
  state.told.atMs = Number.NEGATIVE_INFINITY;
  effects.push({ type: 'announce', epoch });
}

/** Everybody who waits is sent to the new owner. Reservations stay: the requests go on there. */
export function loseQueue(turn: Turn): void {
  const { state, nowMs, effects } = turn;
  if (state.ownerEpoch === undefined) return;
  state.ownerEpoch = undefined;
  for (const { ask } of state.parked.values()) effects.push({ type: 'notOwner', ask });
  for (const entry of state.entries.values()) {
    if (entry.phase !== 'assigned') waited(turn, entry.request, { outcome: 'moved', waitMs: nowMs - entry.admittedAtMs });
  }
  state.parked.clear();
  state.entries.clear();
  state.assigned.clear();
  state.ended.clear();
  state.queue.clear();
  state.batch = undefined;
  state.told.classes = [];
  effects.push({ type: 'handedOver' });
}

/** Somebody owns the queue under a later epoch: our lease has run out without our noticing. */
export function ownedElsewhere(turn: Turn, epoch: number): void {
  const { ownerEpoch } = turn.state;
  if (ownerEpoch === undefined || epoch <= ownerEpoch) return;
  loseQueue(turn);
  turn.effects.push({ type: 'stepDown' });
}
