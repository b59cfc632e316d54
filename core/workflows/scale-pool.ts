// Carries out a change of size: starts instances and waits until they are healthy, then empties and stops others. An
// instance is stopped only when it has been cordoned, drained and seen empty; when it cannot be emptied it goes back to
// work. A part that fails does not undo the parts that worked: the pool's owner plans again from what is there.
import type { ScalePlan } from '../../proto/gen/messages.ts';
import { scaleApproval, scalePayload } from '../approval/requests.ts';
import type { ActivityCatalogue } from './activities.ts';
import { askFirst, type Permission, reportExecution } from './approved-execution.ts';
import type { ScaleOutcome } from './catalogue.ts';
import { codeOf, type WorkflowControl } from './control.ts';

export type ScaleActivities = Pick<
  ActivityCatalogue,
  'checkScale' | 'startInstance' | 'awaitHealthy' | 'setCordon' | 'confirmEmpty' | 'stopInstance' | 'reportScaling' | 'recordApproval'
>;

/** How long an approved change of size may be started after the deciding vote. */
const scaleUseWithinMs = 300_000;

interface Done {
  readonly started: string[];
  readonly stopped: string[];
}

/** Never throws: whatever fails, a cancellation too, ends in an outcome. */
export async function scalePool(plan: ScalePlan, act: ScaleActivities, ctl: WorkflowControl): Promise<ScaleOutcome> {
  const done: Done = { started: [], stopped: [] };
  let permission: Permission = { granted: false, code: 'cancelled' };
  let outcome: ScaleOutcome;
  try {
    const request = plan.needsApproval ? approvalOf(plan, ctl.now()) : null;
    permission = await askFirst(request, scalePayload(plan), () => act.checkScale(plan), act, ctl);
    outcome = permission.granted ? await execute(plan, done, act, ctl) : refused(permission.code);
  } catch (thrown) {
    outcome = { outcome: 'failed', code: codeOf(thrown), ...done };
  }
  ctl.tell(
    `**${outcome.outcome}**${outcome.code === '' ? '' : ` (${outcome.code})`}: started ${outcome.started.join(', ') || 'none'}, stopped ${outcome.stopped.join(', ') || 'none'}`,
  );
  await reportExecution(permission, { succeeded: outcome.outcome === 'completed', code: outcome.code }, act, ctl);
  try {
    await ctl.shielded(() => act.reportScaling({ plan, outcome }));
  } catch (thrown) {
    ctl.log('could not report the end of the scaling', { code: codeOf(thrown) });
  }
  return outcome;
}

async function execute(plan: ScalePlan, done: Done, act: ScaleActivities, ctl: WorkflowControl): Promise<ScaleOutcome> {
  const failures: string[] = [];
  if (plan.startInstanceIds.length > 0) await startAll(plan, done, failures, act, ctl);
  // One after the other: the instances that stay take the requests, and see each other's load in between.
  for (const instanceId of plan.stopInstanceIds) {
    if (failures.length > 0) break;
    const code = ctl.now() >= plan.deadlineMs ? 'deadline_exceeded' : await retire(plan, instanceId, act, ctl);
    if (code === '') done.stopped.push(instanceId);
    else failures.push(code);
    if (code === 'cancelled') break;
  }
  return { outcome: failures.length === 0 ? 'completed' : 'failed', code: failures[0] ?? '', ...done };
}

async function startAll(plan: ScalePlan, done: Done, failures: string[], act: ScaleActivities, ctl: WorkflowControl): Promise<void> {
  const asked: string[] = [];
  try {
    for (const instanceId of plan.startInstanceIds) {
      asked.push(instanceId);
      ctl.tell(`starting ${instanceId}`);
      const { refusal } = await act.startInstance({ plan, instanceId });
      if (!refusal) continue;
      asked.pop();
      failures.push(refusal.code);
      ctl.tell(`${instanceId} was not started: ${refusal.message}`);
    }
    const { healthy } = await act.awaitHealthy({ instanceIds: asked, untilMs: plan.deadlineMs });
    done.started.push(...healthy);
    if (asked.length > 0) ctl.tell(`healthy: ${healthy.join(', ') || 'none'}`);
    if (healthy.length < asked.length) failures.push('deadline_exceeded');
  } catch (thrown) {
    failures.push(codeOf(thrown));
  }
  // What never became healthy serves nothing and may sit on a GPU.
  for (const instanceId of asked.filter((id) => !done.started.includes(id))) await stopUnhealthy(plan, instanceId, act, ctl);
}

async function stopUnhealthy(plan: ScalePlan, instanceId: string, act: ScaleActivities, ctl: WorkflowControl): Promise<void> {
  try {
    await ctl.shielded(() => act.stopInstance({ plan, instanceId }));
  } catch (thrown) {
    ctl.log('could not stop an instance that did not become healthy', { instance: instanceId, code: codeOf(thrown) });
  }
}

/** Empty string: stopped. Otherwise why not; the instance then serves again. */
async function retire(plan: ScalePlan, instanceId: string, act: ScaleActivities, ctl: WorkflowControl): Promise<string> {
  ctl.tell(`emptying ${instanceId}`);
  let code: string;
  try {
    code = await emptyAndStop(plan, instanceId, act, ctl);
  } catch (thrown) {
    code = codeOf(thrown);
  }
  ctl.tell(code === '' ? `stopped ${instanceId}` : `${instanceId} was not stopped (${code}), it serves again`);
  if (code === '') return code;
  try {
    await ctl.shielded(() => act.setCordon({ instanceId, reason: 'none' }));
  } catch (thrown) {
    ctl.log('could not take the cordon off', { instance: instanceId, code: codeOf(thrown) });
  }
  return code;
}

async function emptyAndStop(plan: ScalePlan, instanceId: string, act: ScaleActivities, ctl: WorkflowControl): Promise<string> {
  await act.setCordon({ instanceId, reason: 'scale_in' });
  const drainId = `${plan.scaleId}-drain-${instanceId}`;
  const drained = await ctl.child('drainInstance', drainId, {
    drainId,
    instanceId,
    pool: plan.pool,
    reason: 'scale_in',
    requestedBy: plan.requestedBy,
    withinMs: plan.drainWithinMs,
    approval: null,
  });
  if (drained.outcome !== 'empty') return drained.code;
  const { left } = await act.confirmEmpty({ instanceId });
  if (left > 0) return 'deadline_exceeded';
  const { refusal } = await act.stopInstance({ plan, instanceId });
  return refusal ? refusal.code : '';
}

function refused(code: string): ScaleOutcome {
  return { outcome: code === 'approval_expired' ? 'expired' : 'refused', code, started: [], stopped: [] };
}

function approvalOf(plan: ScalePlan, nowMs: number) {
  const details = [
    `Instances of ${plan.pool}: ${plan.from} now, ${plan.to} afterwards.`,
    `Emptied and stopped: ${plan.stopInstanceIds.join(', ') || 'none'}. Their requests move to the others while they run.`,
    ...plan.reasons,
    `Undo: switchyard scale ${plan.pool} ${plan.from}. Caches of stopped instances are lost.`,
  ];
  return scaleApproval(plan, { nowMs, expiresAtMs: plan.approvalExpiresMs, useWithinMs: scaleUseWithinMs, quorum: 1, details });
}
