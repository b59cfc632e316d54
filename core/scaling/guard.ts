// What a proposal may become: limits, cool-downs, one step at a time, and no scale-in while the picture is unsure. The
// guard may weaken a proposal or hold it; it never reverses its direction.
import type { Proposal, ScalingCode, ScalingReason } from './policy.ts';
import { type PoolView, pending, staying, supply } from './pool-view.ts';

export interface GuardLimits {
  readonly maxViewAgeMs: number;
  /** Between two changes of size in the same direction, and after any change before shrinking, ms. */
  readonly outCooldownMs: number;
  readonly inCooldownMs: number;
  /** Instances that one decision adds or removes at most. */
  readonly maxStep: number;
  /** With as many recent migrations or more nothing is removed: they say that load is on the move. */
  readonly stormMigrations: number;
}

export interface Constrained {
  readonly target: number;
  /** Of the guard alone; empty: the proposal went through. */
  readonly reasons: readonly ScalingReason[];
}

/** Unattended changes end at the floor: below it people decide. */
export function constrain(view: PoolView, proposal: Proposal, limits: GuardLimits): Constrained {
  const current = supply(view);
  const reasons: ScalingReason[] = [];
  const because = (code: ScalingCode, text: string): void => void reasons.push({ code, text });
  const hold = (code: ScalingCode, text: string): Constrained => ({ target: current, reasons: [...reasons, { code, text }] });
  if (proposal.target === current) return { target: current, reasons };

  if (view.viewAgeMs > limits.maxViewAgeMs)
    return hold(
      'hold_stale_view',
      `The fleet view is ${Number.isFinite(view.viewAgeMs) ? `${Math.round(view.viewAgeMs)} ms old` : 'missing'}: the size stays.`,
    );
  if (view.planRunning) return hold('hold_plan_running', 'A change of size is under way or waits for people.');

  if (proposal.target > current) {
    if (view.nowMs - view.grewAtMs < limits.outCooldownMs)
      return hold('hold_cooldown', `The pool grew ${seconds(view.nowMs - view.grewAtMs)} s ago.`);
    let target = proposal.target;
    if (target > current + limits.maxStep) {
      target = current + limits.maxStep;
      because('one_step', `At most ${limits.maxStep} at a time.`);
    }
    if (target > view.bounds.max) {
      target = Math.max(current, view.bounds.max);
      because('at_max', `The pool may have ${view.bounds.max} instances.`);
    }
    return { target, reasons };
  }

  if (!view.queued) return hold('hold_queue_unknown', 'Admission has not said lately what waits there: nothing is removed.');
  if (pending(view).length > 0) return hold('hold_pending', `${pending(view).length} ordered instances are not healthy yet.`);
  const unsure = staying(view).filter((instance) => instance.health !== 'healthy').length;
  if (unsure > 0) return hold('hold_unhealthy', `${unsure} instances are suspect.`);
  const changedMs = view.nowMs - Math.max(view.grewAtMs, view.shrankAtMs);
  if (changedMs < limits.inCooldownMs) return hold('hold_cooldown', `The size changed ${seconds(changedMs)} s ago.`);
  if (view.recentMigrations >= limits.stormMigrations)
    return hold('hold_migrations', `${view.recentMigrations} migrations ended lately: load is on the move.`);
  let target = proposal.target;
  if (target < current - limits.maxStep) {
    target = current - limits.maxStep;
    because('one_step', `At most ${limits.maxStep} at a time.`);
  }
  const { min, floor } = view.bounds;
  const lowest = Math.max(min, floor);
  if (target < lowest) {
    target = Math.min(current, lowest);
    because(floor > min ? 'at_floor' : 'at_min', floor > min ? `Fewer than ${floor} need an approval.` : `The pool keeps ${min} instances.`);
  }
  return { target, reasons };
}

function seconds(ms: number): number {
  return Math.round(ms / 1000);
}
