// The state of one pool's queue actor, its messages and its effects. The state is changed in place by the step that
// owns it: it holds thousands of requests, and a copy per message would cost more than everything else.

import type { PoolCapacity } from '../../core/admission/capacity.ts';
import type { DrainRate } from '../../core/admission/drain-rate.ts';
import type { AdmissionQueue } from '../../core/admission/queue.ts';
import type { ChurnMap } from '../../core/collections/churn-map.ts';
import type { EngineFault } from '../../core/engine/engine-health.ts';
import type { Code } from '../../core/errors/codes.ts';
import type { FleetLoad } from '../../core/routing/fleet-load.ts';
import type { PoolTable } from '../../core/routing/fleet-table.ts';
import type { FleetChange } from '../../core/tracking/fleet-replica.ts';
import type {
  AdmitReply,
  Assignment,
  Booking,
  LimitState,
  QueuedClass,
  QueueStatus,
  Refusal,
  RequestInfo,
  RouteResult,
} from '../../proto/gen/messages.ts';
import type { AdmissionConfig } from './config.ts';

export interface Entry {
  /** As it was asked about last. */
  request: RequestInfo;
  /** reserving: the ledger is asked. queued: in the queue. routing: in the batch. assigned: until it is done, or for a while. */
  phase: 'new' | 'reserving' | 'queued' | 'routing' | 'assigned';
  readonly admittedAtMs: number;
  askedAtMs: number;
  /** A reservation was made for it here, and is given back when it ends without an instance. */
  reserved: boolean;
  limits: LimitState | null;
  assignment: Assignment | undefined;
}

export interface PoolState {
  readonly pool: string;
  config: AdmissionConfig;
  /** Undefined: another one owns the queue. */
  ownerEpoch: number | undefined;
  /** The pool's instances and what is in flight on them. */
  readonly fleet: FleetLoad;
  /** As worked out last: it costs a walk over all instances, and most messages change nothing in it. */
  capacity: { readonly of: PoolTable; readonly version: number; readonly value: PoolCapacity } | undefined;
  /** Engines of all live instances answer with a fault. */
  unwell: { readonly code: EngineFault; readonly sinceMs: number } | undefined;
  readonly queue: AdmissionQueue;
  /** By request id: those that wait, at most `maxQueued` and those the ledger is asked about, and those assigned. */
  readonly entries: ChurnMap<string, Entry>;
  /** Assigned requests, the first assigned first. At `maxAssigned` the first is forgotten: a late question about it is a new one. */
  readonly assigned: Set<string>;
  /** Questions that wait for an answer, one per request, the first to be answered first. */
  readonly parked: ChurnMap<string, { readonly ask: number; readonly answerByMs: number }>;
  /** What to answer late repeats, oldest first. Bounded like the entries; at the limit the oldest is forgotten. */
  readonly ended: ChurnMap<string, { readonly epoch: number; readonly refusal: Refusal; readonly limits: LimitState | null; readonly atMs: number }>;
  /** With the router now. One at a time: what comes meanwhile makes the next one. */
  batch: { readonly id: number; readonly requestIds: readonly string[] } | undefined;
  batches: number;
  /** Heard of since the last batch, newest last; the router is told with the next. */
  heardEnded: string[];
  /** No batch before this time. */
  dispatchAtMs: number;
  routeFailures: number;
  drainRate: DrainRate;
  /** The queue as it was told last, and when it is looked at again. */
  readonly told: { classes: readonly QueuedClass[]; version: number; atMs: number; lookAtMs: number | undefined };
  sweepAtMs: number;
  /** Worked out at the end of each step. */
  wakeAtMs: number | undefined;
}

export type PoolMessage =
  | { readonly type: 'gained'; readonly epoch: number }
  | { readonly type: 'lost' }
  /** Somebody announced that it owns the queue. */
  | { readonly type: 'owner'; readonly epoch: number }
  | { readonly type: 'configure'; readonly config: AdmissionConfig }
  /** The pool's part of the fleet. */
  | { readonly type: 'fleet'; readonly change: FleetChange }
  /** A router has placed requests, for whichever owner. */
  | { readonly type: 'booked'; readonly bookings: readonly Booking[] }
  | { readonly type: 'ask'; readonly ask: number; readonly request: RequestInfo; readonly answerByMs: number }
  | {
      readonly type: 'reserved';
      readonly request: RequestInfo;
      readonly held: boolean;
      readonly limits: LimitState | null;
      readonly refusal: Refusal | null;
    }
  | { readonly type: 'routed'; readonly batch: number; readonly results: readonly RouteResult[] }
  | { readonly type: 'routeFailed'; readonly batch: number; readonly code: Code }
  | { readonly type: 'leave'; readonly requestId: string }
  | { readonly type: 'done'; readonly requestIds: readonly string[] };

export type PoolEffect =
  | { readonly type: 'answer'; readonly ask: number; readonly reply: Omit<AdmitReply, 'meta'> }
  | { readonly type: 'notOwner'; readonly ask: number }
  | { readonly type: 'reserve'; readonly request: RequestInfo }
  | { readonly type: 'refund'; readonly request: RequestInfo }
  | {
      readonly type: 'route';
      readonly batch: number;
      readonly epoch: number;
      readonly requests: readonly RequestInfo[];
      readonly ended: readonly string[];
    }
  | { readonly type: 'announce'; readonly epoch: number }
  | { readonly type: 'tellQueue'; readonly status: Omit<QueueStatus, 'meta' | 'ownerId'> }
  /** The queue is somebody else's now. */
  | { readonly type: 'handedOver' }
  /** Stop serving the subject: somebody else does. */
  | { readonly type: 'stepDown' }
  /** The wait of a request is over: assigned, refused, left, or handed to the next owner. */
  | {
      readonly type: 'waited';
      readonly request: RequestInfo;
      readonly outcome: WaitOutcome;
      readonly code: string;
      readonly instanceId: string;
      readonly waitMs: number;
    };

export type WaitOutcome = 'assigned' | 'refused' | 'left' | 'moved';

/** One step under way. */
export interface Turn {
  readonly state: PoolState;
  readonly nowMs: number;
  readonly effects: PoolEffect[];
}
