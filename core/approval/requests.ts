// What an approval of a plan looks like: one place says which bytes are pinned and what the approver reads. Planners
// build it when they ask; workflows build the same again right before they run, and compare.
import type { ApprovalRequest, ScalePlan } from '../../proto/gen/messages.ts';
import type { DrainPlan } from '../workflows/catalogue.ts';
import { pinPayload } from './pin.ts';

/** The id of the approval of a plan, which is also the id of its workflow. */
export function approvalIdOf(planId: string): string {
  return `approval-${planId}`;
}

/** What is pinned of a drain: everything but the approval itself. */
export function drainPayload(plan: DrainPlan): Omit<DrainPlan, 'approval'> {
  const { approval: _, ...payload } = plan;
  return payload;
}

/** What is pinned of a change of size: the whole plan. */
export function scalePayload(plan: ScalePlan): ScalePlan {
  return { ...plan };
}

export interface ApprovalTerms {
  readonly nowMs: number;
  /** Absolute: the time to decide ends here. */
  readonly expiresAtMs: number;
  /** From the deciding vote. */
  readonly useWithinMs: number;
  /** At least 1. */
  readonly quorum: number;
  /** Lines for the approver: before and after, requests affected, how to undo. */
  readonly details: readonly string[];
}

export function drainApproval(plan: DrainPlan, terms: ApprovalTerms): ApprovalRequest {
  return {
    ...common(plan.drainId, plan.requestedBy, plan.pool, pinPayload(drainPayload(plan)), terms),
    action: 'drain_last_instance',
    summary: `Drain ${plan.instanceId}, the last instance of pool ${plan.pool}: the pool will serve nothing until another instance starts or it is undrained.`,
  };
}

export function scaleApproval(plan: ScalePlan, terms: ApprovalTerms): ApprovalRequest {
  return {
    ...common(plan.scaleId, plan.requestedBy, plan.pool, pinPayload(scalePayload(plan)), terms),
    action: 'scale_in_below_floor',
    summary: `Scale pool ${plan.pool} from ${plan.from} to ${plan.to} instances, below its floor.`,
  };
}

function common(planId: string, requestedBy: string, pool: string, pinned: { payloadJson: string; actionHash: string }, terms: ApprovalTerms) {
  return {
    approvalId: approvalIdOf(planId),
    details: terms.details,
    ...pinned,
    requestedBy,
    quorum: Math.max(1, terms.quorum),
    requestedAtMs: terms.nowMs,
    expiresAtMs: terms.expiresAtMs,
    useWithinMs: terms.useWithinMs,
    parentWorkflowId: planId,
    pool,
  };
}
