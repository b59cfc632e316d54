// The queue of one pool as an actor: key is the pool, and its owner holds the lease queue/<pool>. Deterministic: the
// same messages at the same times give the same effects.

import { noDrain } from '../../core/admission/drain-rate.ts';
import { AdmissionQueue, type QueueLimits } from '../../core/admission/queue.ts';
import { ChurnMap } from '../../core/collections/churn-map.ts';
import { FleetLoad } from '../../core/routing/fleet-load.ts';
import { type Actor, assert, type Wake } from '../../lib/actor/actor.ts';
import { asked, done, left, reserved } from './asking.ts';
import type { AdmissionConfig } from './config.ts';
import { dispatch, routed, routeFailed } from './dispatching.ts';
import { gainQueue, loseQueue, ownedElsewhere } from './owning.ts';
import type { PoolEffect, PoolMessage, PoolState, Turn } from './pool-state.ts';
import { tellStatus } from './telling.ts';
import { nextWakeMs, noteWellness, passTime } from './waking.ts';

export function queueActor(config: AdmissionConfig): Actor<PoolState, PoolMessage, PoolEffect> {
  return {
    kind: 'queue',
    changesInPlace: true,
    start: (pool, nowMs) => newPool(pool, config, nowMs),
    step(state, message, nowMs) {
      const turn: Turn = { state, nowMs, effects: [] };
      take(turn, message);
      dispatch(turn);
      tellStatus(turn);
      state.wakeAtMs = nextWakeMs(state, nowMs);
      return [state, turn.effects];
    },
    wakeAt: (state) => state.wakeAtMs,
    assertValid({ entries, assigned, parked, queue, ownerEpoch }) {
      assert(queue.size + assigned.size <= entries.size, 'everything queued or assigned has an entry');
      assert(parked.size <= entries.size, 'only known requests are waited for');
      assert(ownerEpoch !== undefined || (entries.size === 0 && queue.size === 0), 'only the owner has a queue');
    },
  };
}

function newPool(pool: string, config: AdmissionConfig, nowMs: number): PoolState {
  return {
    pool,
    config,
    ownerEpoch: undefined,
    fleet: new FleetLoad(),
    capacity: undefined,
    unwell: undefined,
    queue: new AdmissionQueue(queueLimits(config)),
    entries: new ChurnMap(),
    assigned: new Set(),
    parked: new ChurnMap(),
    ended: new ChurnMap(),
    batch: undefined,
    batches: 0,
    heardEnded: [],
    dispatchAtMs: nowMs,
    routeFailures: 0,
    drainRate: noDrain(nowMs),
    told: { classes: [], version: 0, atMs: nowMs, lookAtMs: undefined },
    sweepAtMs: nowMs,
    wakeAtMs: undefined,
  };
}

function queueLimits({ maxQueued, agingMs, maxIdleFlows }: AdmissionConfig): QueueLimits {
  return { maxItems: maxQueued, agingMs, maxIdleFlows };
}

function take(turn: Turn, message: PoolMessage | Wake): void {
  const { state, nowMs } = turn;
  switch (message.type) {
    case 'ask':
      asked(turn, message);
      break;
    case 'reserved':
      reserved(turn, message);
      break;
    case 'routed':
      routed(turn, message);
      break;
    case 'routeFailed':
      routeFailed(turn, message);
      break;
    case 'leave':
      left(turn, message.requestId);
      break;
    case 'done':
      for (const requestId of message.requestIds) done(turn, requestId);
      state.queue.allReady();
      break;
    case 'fleet':
      state.fleet.takeChange(message.change, nowMs);
      noteWellness(state, nowMs);
      state.queue.allReady();
      break;
    case 'booked':
      for (const { requestId, instanceId, handOffInstanceId, epoch, blocks } of message.bookings)
        state.fleet.account.book({ requestId, instanceId, handOffInstanceId, epoch, blocks, computeTokens: 0, atMs: nowMs });
      break;
    case 'gained':
      gainQueue(turn, message.epoch);
      break;
    case 'lost':
      loseQueue(turn);
      break;
    case 'owner':
      ownedElsewhere(turn, message.epoch);
      break;
    case 'configure':
      state.config = message.config;
      state.capacity = undefined;
      state.queue.configure(queueLimits(message.config));
      break;
    case 'wake':
      passTime(turn);
  }
}
