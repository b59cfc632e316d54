// Every activity there is: what it takes, what it gives, and how it is run. Bodies use the ones they name with Pick;
// workflows/<name>/activities.ts carry them out. An expected "no" is a value with a refusal; failures are thrown as
// SwitchyardError and tried again while they are retryable. Every activity may run more than once.
import type { ApprovalState, AuditEvent, MigrationPlan, Refusal, ScalePlan } from '../../proto/gen/messages.ts';
import type { DrainPlan, MigrationOutcome, ScaleOutcome, TransferPlan } from './catalogue.ts';
import type { ActivityContext } from './control.ts';

/** Blocks held on a target, and how to send to them. */
export interface Held {
  readonly kvAddress: string;
  readonly transferToken: string;
  /** Token link of who holds them. Empty: as planned. */
  readonly address: string;
}

export type Reserved = { readonly held: Held; readonly refusal: null } | { readonly held: null; readonly refusal: Refusal };

/** What copying has done so far. */
export interface CopyProgress {
  readonly stages: number;
  readonly blocks: number;
  readonly bytes: number;
}

export interface Copied extends CopyProgress {
  /** Empty: done. Otherwise the code of why it stopped. */
  readonly code: string;
}

export interface CutOver {
  readonly committed: boolean;
  /** Empty when committed. */
  readonly code: string;
  readonly blocks: number;
  readonly bytes: number;
  /** From the source's last token to the answer about the hand-over. */
  readonly downtimeMs: number;
}

export interface MovedRequest {
  readonly requestId: string;
  readonly migrationId: string;
  /** Empty: moved. Otherwise why not. */
  readonly code: string;
}

export interface MoveRound {
  readonly moves: readonly MovedRequest[];
  /** Requests still on the instance at the end of the round. */
  readonly left: number;
}

export type ApprovalAudit = Pick<AuditEvent, 'kind' | 'actor' | 'target' | 'detailJson' | 'atMs'> & {
  /** Stored once per id. */
  readonly id: string;
};

export interface ActivityCatalogue {
  /** Holds blocks for the sequence on the target. Again with the same plan: the same reservation. */
  reserveBlocks(plan: MigrationPlan): Promise<Reserved>;
  /** Copies in stages while the source decodes on, until little enough is left. Resumes where it was. */
  preCopy(input: { plan: MigrationPlan; held: Held }): Promise<Copied>;
  /** The same where replacing a worker takes longer than the copy: begun again by whoever takes over, for what has arrived is not sent again. */
  preCopyShort(input: { plan: MigrationPlan; held: Held }): Promise<Copied>;
  /** Pauses the source, copies the rest, hands the request over; returns only when the outcome is known. */
  cutOver(input: { plan: MigrationPlan; held: Held | null; stage: number }): Promise<CutOver>;
  /** Asks the gateway what became of the hand-over, until it answers or has been gone for long enough. */
  askOutcome(plan: MigrationPlan): Promise<{ committed: boolean; code: string }>;
  /** Source: gone to the target (committed), or goes on here. */
  releaseSource(input: { plan: MigrationPlan; committed: boolean }): Promise<void>;
  /** Target: frees what is held. */
  dropBlocks(input: { instanceId: string; reservationId: string }): Promise<void>;
  reportMigration(input: { plan: MigrationPlan; outcome: MigrationOutcome }): Promise<void>;

  reserveTransfer(plan: TransferPlan): Promise<Reserved>;
  copyTransfer(input: { plan: TransferPlan; held: Held }): Promise<Copied>;

  /** Whether the drain still makes sense, seen from the fleet as it is now. */
  checkDrain(plan: DrainPlan): Promise<{ refusal: Refusal | null }>;
  setCordon(input: { instanceId: string; reason: 'none' | 'drain' | 'scale_in' | 'operator' }): Promise<void>;
  /** Asks for the move of everything that is on the instance and waits for the outcomes. */
  moveAway(plan: DrainPlan): Promise<MoveRound>;

  checkScale(plan: ScalePlan): Promise<{ refusal: Refusal | null }>;
  startInstance(input: { plan: ScalePlan; instanceId: string }): Promise<{ refusal: Refusal | null }>;
  /** Waits until the instances are healthy or the time is over; returns the healthy ones. */
  awaitHealthy(input: { instanceIds: readonly string[]; untilMs: number }): Promise<{ healthy: readonly string[] }>;
  /** From a view taken after the question was asked. An instance that is gone is empty. */
  confirmEmpty(input: { instanceId: string }): Promise<{ left: number }>;
  stopInstance(input: { plan: ScalePlan; instanceId: string }): Promise<{ refusal: Refusal | null }>;
  reportScaling(input: { plan: ScalePlan; outcome: ScaleOutcome }): Promise<void>;

  /** Mirrors the approval to the store for listing, and writes what happened to the audit log. */
  recordApproval(input: { approval: ApprovalState; events: readonly ApprovalAudit[] }): Promise<void>;
}

export type ActivityName = keyof ActivityCatalogue;

/** What a host is given: the same activities, told by whom and for the how many-th time they are run. */
export type ActivityImplementations = {
  readonly [N in ActivityName]: (context: ActivityContext, input: Parameters<ActivityCatalogue[N]>[0]) => ReturnType<ActivityCatalogue[N]>;
};

export interface ActivityPolicy {
  /** Local: in the worker that runs the workflow, 10 ms instead of 60, lost with it. Remote: survives the worker. */
  readonly where: 'local' | 'remote';
  /** One attempt. */
  readonly timeoutMs: number;
  /** 0: until it works. */
  readonly attempts: number;
  readonly backoffMs: number;
  readonly maxBackoffMs: number;
  /** Remote only. */
  readonly heartbeatMs?: number;
}

const quick = { where: 'local', timeoutMs: 5_000, attempts: 4, backoffMs: 100, maxBackoffMs: 1_000 } as const;
/** Cleaning up is worth more attempts; what it frees also expires by itself. */
const undo = { where: 'local', timeoutMs: 5_000, attempts: 8, backoffMs: 100, maxBackoffMs: 2_000 } as const;
const long = { where: 'remote', attempts: 5, backoffMs: 200, maxBackoffMs: 5_000, heartbeatMs: 4_000 } as const;
/** A worker that is replaced costs an attempt, and these outlive many; their plans say when it is enough. */
const patient = { ...long, attempts: 30, timeoutMs: 600_000 } as const;
const record = { where: 'local', timeoutMs: 10_000, attempts: 0, backoffMs: 200, maxBackoffMs: 10_000 } as const;

/** How each activity is run, in Temporal and in memory alike. */
export const activityPolicies: Readonly<Record<ActivityName, ActivityPolicy>> = {
  reserveBlocks: quick,
  preCopy: { ...long, timeoutMs: 600_000 },
  preCopyShort: { where: 'local', timeoutMs: 600_000, attempts: 5, backoffMs: 200, maxBackoffMs: 5_000 },
  // The source is paused meanwhile: a second attempt starts with asking what became of the first.
  cutOver: { where: 'local', timeoutMs: 60_000, attempts: 2, backoffMs: 50, maxBackoffMs: 50 },
  // Until it is known. The activity itself concludes when the gateway is gone for good.
  askOutcome: { where: 'local', timeoutMs: 5_000, attempts: 0, backoffMs: 100, maxBackoffMs: 2_000 },
  releaseSource: undo,
  dropBlocks: undo,
  reportMigration: undo,
  reserveTransfer: quick,
  copyTransfer: { ...patient, timeoutMs: 3_600_000 },
  checkDrain: undo,
  setCordon: undo,
  moveAway: patient,
  checkScale: undo,
  startInstance: { ...undo, timeoutMs: 15_000 },
  awaitHealthy: patient,
  confirmEmpty: undo,
  stopInstance: { ...undo, timeoutMs: 15_000 },
  reportScaling: undo,
  recordApproval: record,
};

/** How long to wait before the attempt after `attempt`. */
export function backoffMs(policy: ActivityPolicy, attempt: number): number {
  return Math.min(policy.maxBackoffMs, policy.backoffMs * 2 ** (attempt - 1));
}
