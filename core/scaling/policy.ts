// What every scaling policy looks like: predict, then propose. What the proposal may become is not the policy's to say
// (guard.ts). A policy is pure; what it remembers is a plain value that goes into the owner's snapshot.
import type { PoolView } from './pool-view.ts';

/** Closed list: why a policy proposes what it does, and why the guard changed it. */
export type ScalingCode =
  | 'in_band'
  | 'freeness_low'
  | 'freeness_high'
  | 'slots_full'
  | 'no_demand'
  | 'window_not_over'
  | 'removal_would_overload'
  | 'below_min'
  | 'hold_stale_view'
  | 'hold_queue_unknown'
  | 'hold_plan_running'
  | 'hold_pending'
  | 'hold_cooldown'
  | 'hold_migrations'
  | 'hold_unhealthy'
  | 'at_max'
  | 'at_min'
  | 'at_floor'
  | 'one_step';

export interface ScalingReason {
  readonly code: ScalingCode;
  /** A sentence with numbers. */
  readonly text: string;
}

export interface Forecast {
  /** Blocks that will be in use or wanted at the end of the horizon. */
  readonly demandBlocks: number;
  readonly horizonMs: number;
}

export interface Proposal {
  /** Wanted size; the current supply when nothing should change. */
  readonly target: number;
  readonly reasons: readonly ScalingReason[];
}

export interface ScalingPolicy<Memory> {
  readonly name: string;
  /** Before the first view. */
  start(): Memory;
  predict(view: PoolView, memory: Memory): readonly [Memory, Forecast];
  propose(view: PoolView, forecast: Forecast, memory: Memory): readonly [Memory, Proposal];
}
