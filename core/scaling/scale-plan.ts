// From a wanted size to a plan that leaves no choice: which instances start, which stop, whether people must agree.
import type { Refusal, ScalePlan } from '../../proto/gen/messages.ts';
import { refusal } from '../errors/switchyard-error.ts';
import { type PoolView, requestsOn, retireOrder, serving, supply } from './pool-view.ts';

export interface PlanTerms {
  readonly scaleId: string;
  /** Of the pool's owner. */
  readonly epoch: number;
  readonly requestedBy: string;
  readonly reasons: readonly string[];
  /** Time to execute, after any approval, ms. */
  readonly executeWithinMs: number;
  readonly approvalWithinMs: number;
  readonly drainWithinMs: number;
}

/** Why a person's wish cannot be planned; undefined: it can. */
export function refuseTarget(view: PoolView, target: number, maxViewAgeMs: number): Refusal | undefined {
  const { pool, bounds } = view;
  if (view.viewAgeMs > maxViewAgeMs) return refusal('stale_view', 'the fleet view is missing or too old: is an instance tracker running?', 1_000);
  if (!Number.isInteger(target) || target < bounds.min || target > bounds.max)
    return refusal('out_of_range', `pool ${pool} may have ${bounds.min} to ${bounds.max} instances, not ${target}; the range is set in fleet.yaml`);
  if (view.planRunning)
    return refusal('scaling_in_progress', `pool ${pool} is changing its size, or waits for an approval to do so; see "switchyard status"`, 5_000);
  return undefined;
}

/** The plan for a size that differs from the supply. Ids are chosen here and now. */
export function planScale(view: PoolView, target: number, terms: PlanTerms): ScalePlan {
  const from = supply(view);
  const stop = retireOrder(view).slice(0, Math.max(0, from - target));
  // Suspect and cordoned instances do not hold the floor: those that take requests count.
  const now = serving(view);
  const left = now.filter((instance) => !stop.includes(instance)).length;
  const needsApproval = stop.length > 0 && (target < view.bounds.floor || (left < view.bounds.floor && left < now.length));
  const approvalExpiresMs = needsApproval ? view.nowMs + terms.approvalWithinMs : 0;
  const chosen = stop.map((instance) => `${instance.status.instanceId} (${requestsOn(instance)})`);
  const stopping = stop.length > 0 ? [`Stops those with the fewest requests: ${chosen.join(', ')}.`] : [];
  return {
    scaleId: terms.scaleId,
    pool: view.pool,
    from,
    to: target,
    startInstanceIds: freeIds(view, target - from),
    stopInstanceIds: stop.map((instance) => instance.status.instanceId),
    epoch: terms.epoch,
    requestedBy: terms.requestedBy,
    reasons: [...terms.reasons, ...stopping],
    needsApproval,
    deadlineMs: (needsApproval ? approvalExpiresMs : view.nowMs) + terms.executeWithinMs,
    approvalExpiresMs,
    drainWithinMs: terms.drainWithinMs,
  };
}

/** The smallest unused numbers: an id is not used again while the view, or an order, still has it. */
function freeIds(view: PoolView, count: number): string[] {
  const taken = new Set([...view.instances.map((instance) => instance.status.instanceId), ...view.pendingInstanceIds]);
  const ids: string[] = [];
  for (let n = 1; ids.length < count; n++) {
    const id = `${view.pool}-${n}`;
    if (!taken.has(id)) ids.push(id);
  }
  return ids;
}
