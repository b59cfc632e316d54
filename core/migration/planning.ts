// What planning a migration starts from, and what it gives. The other files of this folder plan; services/migration-
// coordinator carries plans out.
import type { MigrationPlan, Refusal, SequenceStatus } from '../../proto/gen/messages.ts';
import type { KnownInstance } from '../tracking/fleet-view.ts';
import type { PriorityHeadroom } from '../tracking/freeness.ts';
import { carriesKv, copiesAhead } from './mode.ts';

export type MoveReason = MigrationPlan['reason'];

export interface PlanningLimits {
  /** An instance with less freeness gives requests away; one with more than `highSteps` takes them. Steps. */
  readonly lowSteps: number;
  readonly highSteps: number;
  /** A request that was moved stays where it is for this long, ms. Does not hold for drains and operators. */
  readonly coolDownMs: number;
  /** Migrations per instance (in and out) and overall that rebalancing starts. */
  readonly maxPerInstance: number;
  readonly maxActive: number;
  /** The same for drains and operators, who may go further. */
  readonly maxForcedPerInstance: number;
  readonly maxForcedActive: number;
  /** A request with fewer tokens to go finishes where it is. */
  readonly minRemainingTokens: number;
  /** The time that a request will still decode must be this many times the time that its migration takes. */
  readonly minBenefitRatio: number;
  /** KV bytes per second between two instances. */
  readonly bytesPerSecond: number;
  /** Time of a migration besides copying, ms. */
  readonly overheadMs: number;
  /** KV from which a state is followed by its target; less is copied at once. Bytes. */
  readonly followFromBytes: number;
  /** Free blocks that a target must keep after it has taken a request. */
  readonly spareBlocks: number;
  /** Share of an instance's blocks kept free for its sequences of high priority. */
  readonly priorityHeadroomShare: number;
  readonly highPriority: number;
}

/** A migration that has not ended, or has committed and is not in the reports yet. */
export interface ActiveMove {
  readonly requestId: string;
  /** Of the request once it has moved. */
  readonly toEpoch: number;
  readonly sourceInstanceId: string;
  readonly targetInstanceId: string;
  readonly reserveBlocks: number;
}

/** One moment: the fleet (projected to now), what is moving, what moved lately. */
export interface PlanningView {
  readonly nowMs: number;
  readonly instances: readonly KnownInstance[];
  readonly active: readonly ActiveMove[];
  /** Committed within the last `settlingMs`: the reports of source and target may be older than that. */
  readonly settling: readonly ActiveMove[];
  /** When a request was moved last. */
  readonly movedAtMs: ReadonlyMap<string, number>;
}

/** A request that was moved is in the report of its new instance within this, ms. */
export const settlingMs = 2_000;

/** A decision: this sequence, from here to there, for these reasons. */
export interface Move {
  readonly sequence: SequenceStatus;
  readonly pool: string;
  readonly sourceInstanceId: string;
  readonly targetInstanceId: string;
  readonly targetAddress: string;
  readonly reason: MoveReason;
  /** Sentences with numbers. */
  readonly reasons: readonly string[];
  readonly mode: MigrationPlan['mode'];
  readonly reserveBlocks: number;
  readonly expectedBytes: number;
  readonly expectedMs: number;
  /** The target can compute the context again, should moving the KV fail. */
  readonly mayRecompute: boolean;
}

/**
 * `early`: the view may only be late, and a newer one can give a better answer: what was named is not in it, or the sequence is still
 * in its prefill there, so that its KV would not travel.
 */
export type MoveDecision = { readonly early: boolean } & (
  | { readonly move: Move; readonly refusal?: undefined }
  | { readonly move?: undefined; readonly refusal: Refusal }
);

/** How a plan is to be carried out; the same for every request. */
export interface ExecutionSettings {
  readonly connections: number;
  readonly maxStages: number;
  readonly lastStageBlocks: number;
  readonly pauseLeaseMs: number;
  readonly reservationTtlMs: number;
  readonly withinMs: number;
  /** A copy that is expected to take no longer is short. */
  readonly shortMs: number;
  /** From this size on a copy is a workflow of its own. */
  readonly bulkBytes: number;
}

/** Somebody wants the request to leave, whatever it costs. Rebalancing leaves it where it is when its KV cannot be moved. */
function isForced(reason: MoveReason): boolean {
  return reason === 'drain' || reason === 'scale_in' || reason === 'role_flip' || reason === 'operator';
}

/** A large copy may take so many times longer than expected before it is given up. */
const slowestCopy = 4;

/** The plan that a workflow carries out; leaves it no choice. */
export function toPlan(
  move: Move,
  how: ExecutionSettings,
  by: { readonly migrationId: string; readonly coordinatorEpoch: number; readonly nowMs: number; readonly requestedBy: string },
): MigrationPlan {
  const { sequence } = move;
  const bulkCopy = copiesAhead(move.mode) && move.expectedBytes >= how.bulkBytes;
  return {
    migrationId: by.migrationId,
    requestId: sequence.requestId,
    gatewayId: sequence.gatewayId,
    pool: move.pool,
    sourceInstanceId: move.sourceInstanceId,
    targetInstanceId: move.targetInstanceId,
    targetAddress: move.targetAddress,
    reason: move.reason,
    reasons: move.reasons,
    mode: move.mode,
    fromEpoch: sequence.epoch,
    toEpoch: sequence.epoch + 1,
    coordinatorEpoch: by.coordinatorEpoch,
    reserveBlocks: move.reserveBlocks,
    connections: how.connections,
    maxStages: copiesAhead(move.mode) ? how.maxStages : 1,
    // A target that follows has to be close: the source says when it is.
    lastStageBlocks: move.mode === 'follow' ? 0 : how.lastStageBlocks,
    pauseLeaseMs: how.pauseLeaseMs,
    reservationTtlMs: how.reservationTtlMs,
    plannedAtMs: by.nowMs,
    deadlineMs: by.nowMs + how.withinMs + (bulkCopy ? slowestCopy * move.expectedMs : 0),
    expectedBytes: move.expectedBytes,
    expectedMs: move.expectedMs,
    requestedBy: by.requestedBy,
    recomputeInstead: carriesKv(move.mode) && move.mayRecompute && isForced(move.reason),
    bulkCopy,
    shortCopy: copiesAhead(move.mode) && !bulkCopy && move.expectedMs <= how.shortMs,
  };
}

export function headroomOf(limits: PlanningLimits, totalBlocks: number): PriorityHeadroom {
  return { highPriority: limits.highPriority, headroomBlocks: Math.floor(limits.priorityHeadroomShare * totalBlocks) };
}

/** 1234567 as 1.2 MB. For reasons. */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Steps for reasons: whole, and a word for infinity. */
export function stepsText(steps: number): string {
  return Number.isFinite(steps) ? `${Math.round(steps)} steps` : 'no limit';
}
