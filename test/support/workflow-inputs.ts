// Plans and activities for tests of workflows: valid ones, to be changed where a test needs it.
import { pinPayload } from '../../core/approval/pin.ts';
import type { ActivityImplementations } from '../../core/workflows/activities.ts';
import type { DrainPlan, TransferPlan } from '../../core/workflows/catalogue.ts';
import type { ApprovalRequest, MigrationPlan, ScalePlan } from '../../proto/gen/messages.ts';

export function migrationPlan(changes: Partial<MigrationPlan> = {}): MigrationPlan {
  return {
    migrationId: 'mig-1',
    requestId: 'req-1',
    gatewayId: 'gateway-1',
    pool: 'chat',
    sourceInstanceId: 'chat-1',
    targetInstanceId: 'chat-2',
    targetAddress: 'ws://chat-2',
    reason: 'operator',
    reasons: [],
    mode: 'copy',
    fromEpoch: 1,
    toEpoch: 2,
    coordinatorEpoch: 1,
    reserveBlocks: 20,
    connections: 2,
    maxStages: 6,
    lastStageBlocks: 4,
    pauseLeaseMs: 2_000,
    reservationTtlMs: 10_000,
    plannedAtMs: 0,
    deadlineMs: 4e12,
    expectedBytes: 0,
    expectedMs: 0,
    requestedBy: 'ada',
    recomputeInstead: false,
    bulkCopy: false,
    shortCopy: false,
    ...changes,
  };
}

export function transferPlan(changes: Partial<TransferPlan> = {}): TransferPlan {
  return {
    transferId: 'transfer-1',
    requestId: 'req-1',
    epoch: 1,
    sourceInstanceId: 'chat-1',
    targetInstanceId: 'chat-2',
    blocks: 20,
    connections: 2,
    reservationTtlMs: 10_000,
    deadlineMs: 4e12,
    into: null,
    ...changes,
  };
}

export function drainPlan(changes: Partial<DrainPlan> = {}): DrainPlan {
  return {
    drainId: 'drain-1',
    instanceId: 'chat-1',
    pool: 'chat',
    reason: 'drain',
    requestedBy: 'ada',
    withinMs: 60_000,
    approval: null,
    ...changes,
  };
}

export function scalePlan(changes: Partial<ScalePlan> = {}): ScalePlan {
  return {
    scaleId: 'scale-1',
    pool: 'chat',
    from: 2,
    to: 1,
    startInstanceIds: [],
    stopInstanceIds: ['chat-1'],
    epoch: 1,
    requestedBy: 'ada',
    reasons: [],
    needsApproval: false,
    deadlineMs: 4e12,
    approvalExpiresMs: 4e12,
    drainWithinMs: 60_000,
    ...changes,
  };
}

export function approvalRequest(changes: Partial<ApprovalRequest> = {}): ApprovalRequest {
  return {
    approvalId: 'approval-1',
    action: 'scale_in_below_floor',
    summary: 'Scale pool chat from 2 to 1',
    details: [],
    ...pinPayload({ pool: 'chat', to: 1 }),
    requestedBy: 'ada',
    quorum: 1,
    requestedAtMs: 0,
    expiresAtMs: 4e12,
    useWithinMs: 60_000,
    parentWorkflowId: '',
    pool: 'chat',
    ...changes,
  };
}

const nothing = async () => {};
const fine = async () => ({ refusal: null });

/** Activities that all succeed at once, for worlds in which only the changed ones matter. */
export function activitiesWith(changes: Partial<ActivityImplementations> = {}): ActivityImplementations {
  const held = { held: { kvAddress: 'tcp://chat-2', transferToken: 'token', address: 'ws://chat-2' }, refusal: null };
  const copied = { stages: 2, blocks: 18, bytes: 1_800, code: '' };
  return {
    reserveBlocks: async () => held,
    preCopy: async () => copied,
    preCopyShort: async () => copied,
    cutOver: async () => ({ committed: true, code: '', blocks: 2, bytes: 200, downtimeMs: 5 }),
    askOutcome: async () => ({ committed: true, code: '' }),
    releaseSource: nothing,
    dropBlocks: nothing,
    reportMigration: nothing,
    reserveTransfer: async () => held,
    copyTransfer: async () => copied,
    checkDrain: fine,
    setCordon: nothing,
    moveAway: async () => ({ moves: [], left: 0 }),
    checkScale: fine,
    startInstance: fine,
    awaitHealthy: async (_, { instanceIds }) => ({ healthy: instanceIds }),
    confirmEmpty: async () => ({ left: 0 }),
    stopInstance: fine,
    reportScaling: nothing,
    recordApproval: nothing,
    ...changes,
  };
}
