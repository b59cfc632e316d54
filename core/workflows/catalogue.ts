// The workflows there are, what they take and what they give. Bodies stand beside this file as plain async functions;
// workflows/ hosts them in Temporal, lib/workflows/memory.ts in memory.
import type { ApprovalRequest, ApprovalState, MigrationPlan, ScalePlan } from '../../proto/gen/messages.ts';
import type { Held } from './activities.ts';

/** Blocks that somebody else holds, and will free or take over. */
export interface TransferTarget {
  readonly reservationId: string;
  readonly held: Held;
  /** Stages in all, with one that the holder copies itself. */
  readonly maxStages: number;
  /** Done when no more than this many blocks remain. */
  readonly enoughBlocks: number;
}

export interface TransferPlan {
  readonly transferId: string;
  readonly requestId: string;
  /** The request's epoch at the source. */
  readonly epoch: number;
  readonly sourceInstanceId: string;
  readonly targetInstanceId: string;
  readonly blocks: number;
  readonly connections: number;
  readonly reservationTtlMs: number;
  readonly deadlineMs: number;
  /** Where the blocks go. Null: into the target's cache, through a reservation of the transfer's own. */
  readonly into: TransferTarget | null;
}

export interface DrainPlan {
  readonly drainId: string;
  readonly instanceId: string;
  readonly pool: string;
  readonly reason: 'drain' | 'scale_in' | 'operator';
  readonly requestedBy: string;
  /** Stop moving and report what is left after this long. */
  readonly withinMs: number;
  /** Set when the drain may run only after people agreed. */
  readonly approval: ApprovalRequest | null;
}

export interface MigrationOutcome {
  readonly outcome: 'committed' | 'aborted';
  readonly code: string;
  readonly stages: number;
  readonly blocks: number;
  readonly bytes: number;
  readonly downtimeMs: number;
  readonly totalMs: number;
}

export interface TransferOutcome {
  readonly outcome: 'completed' | 'failed';
  readonly code: string;
  readonly stages: number;
  readonly blocks: number;
  readonly bytes: number;
  readonly elapsedMs: number;
}

export interface DrainOutcome {
  readonly outcome: 'empty' | 'not_empty' | 'refused' | 'cancelled';
  readonly code: string;
  /** Requests that were moved away, and moves that were refused or aborted. */
  readonly moved: number;
  readonly failedMoves: number;
  readonly left: number;
}

export interface ScaleOutcome {
  readonly outcome: 'completed' | 'refused' | 'expired' | 'failed';
  readonly code: string;
  readonly started: readonly string[];
  readonly stopped: readonly string[];
}

export interface WorkflowInputs {
  migrateRequest: MigrationPlan;
  transferKv: TransferPlan;
  drainInstance: DrainPlan;
  scalePool: ScalePlan;
  approval: ApprovalRequest;
}

export interface WorkflowResults {
  migrateRequest: MigrationOutcome;
  transferKv: TransferOutcome;
  drainInstance: DrainOutcome;
  scalePool: ScaleOutcome;
  approval: ApprovalState;
}

export type WorkflowName = keyof WorkflowInputs;
