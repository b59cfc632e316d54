// Asks people before something runs, and lets it run once: after the decision the conditions are looked at again, then
// the hash of what is about to run and the time to use the approval, with nothing in between.
import type { ApprovalRequest, ApprovalState, Refusal } from '../../proto/gen/messages.ts';
import { pinPayload } from '../approval/pin.ts';
import { closedCode, reduceApproval } from '../approval/reducer.ts';
import type { ActivityCatalogue } from './activities.ts';
import { approvalAudit, votesOf } from './approval.ts';
import { codeOf, type WorkflowControl } from './control.ts';

export type ExecutionActivities = Pick<ActivityCatalogue, 'recordApproval'>;

export type Permission =
  /** `approval` is undefined when none was needed. */
  { readonly granted: true; readonly approval: ApprovalState | undefined } | { readonly granted: false; readonly code: string };

/**
 * Waits for the approval, if one is needed, and checks the conditions.
 * @param payload what will run; its hash must be the approved one
 * @param conditions looked at after the decision: the world may have moved while people thought
 * @throws SwitchyardError what the activities throw, and `cancelled`
 */
export async function askFirst(
  request: ApprovalRequest | null,
  payload: unknown,
  conditions: () => Promise<{ refusal: Refusal | null }>,
  act: ExecutionActivities,
  ctl: WorkflowControl,
): Promise<Permission> {
  if (!request) {
    const { refusal } = await conditions();
    if (refusal) ctl.tell(`not done: ${refusal.message}`);
    return refusal ? { granted: false, code: refusal.code } : { granted: true, approval: undefined };
  }
  ctl.tell(`waiting for people: ${request.approvalId}`);
  const decided = await ctl.child('approval', request.approvalId, request);
  ctl.tell(`${request.approvalId} is ${decided.state}${votesOf(decided)}`);
  if (decided.state !== 'approved') return { granted: false, code: closedCode(decided) };
  const { refusal: drift } = await conditions();
  if (drift) {
    ctl.tell(`not done: ${drift.message}`);
    await recordEnd(decided, 'not_executed', drift.code, act, ctl);
    return { granted: false, code: drift.code };
  }
  const step = reduceApproval(decided, { type: 'execute', actionHash: pinPayload(payload).actionHash }, ctl.now());
  if (step.refusal) {
    ctl.tell(`not done: ${step.refusal.message}`);
    await recordEnd(step.state, 'not_executed', step.refusal.code, act, ctl);
    return { granted: false, code: step.refusal.code };
  }
  const permission: Permission = { granted: true, approval: step.state };
  try {
    await act.recordApproval({ approval: step.state, events: [approvalAudit(step.state, 'executing', ctl.workflowId, ctl.now())] });
  } catch (thrown) {
    await reportExecution(permission, { succeeded: false, code: codeOf(thrown) }, act, ctl);
    throw thrown;
  }
  return permission;
}

/** Writes down how the execution ended. Does not throw: the action has been done or undone by now. */
export async function reportExecution(
  permission: Permission,
  ended: { readonly succeeded: boolean; readonly code: string },
  act: ExecutionActivities,
  ctl: WorkflowControl,
): Promise<void> {
  if (!permission.granted || !permission.approval) return;
  const { state } = reduceApproval(permission.approval, { type: 'end', state: ended.succeeded ? 'verified' : 'failed' }, ctl.now());
  await recordEnd(state, state.state, ended.code, act, ctl);
}

async function recordEnd(state: ApprovalState, what: string, code: string, act: ExecutionActivities, ctl: WorkflowControl): Promise<void> {
  const line = approvalAudit(state, what, ctl.workflowId, ctl.now());
  const event = { ...line, detailJson: JSON.stringify({ ...JSON.parse(line.detailJson), code }) };
  try {
    await ctl.shielded(() => act.recordApproval({ approval: state, events: [event] }));
  } catch (thrown) {
    ctl.log('could not record the end of the execution', { code: codeOf(thrown) });
  }
}
