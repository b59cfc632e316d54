// One decision about the size of a pool: predict, propose, constrain. The same for every policy.
import { constrain, type GuardLimits } from './guard.ts';
import type { Forecast, Proposal, ScalingPolicy, ScalingReason } from './policy.ts';
import { meanFreenessSteps, type PoolView, supply } from './pool-view.ts';

export interface SizeDecision {
  readonly current: number;
  readonly forecast: Forecast;
  readonly proposed: number;
  readonly constrained: number;
  readonly reasons: readonly ScalingReason[];
  readonly meanFreenessSteps: number;
}

/** Same policy, view and memory: same decision. */
export function decideSize<Memory>(
  policy: ScalingPolicy<Memory>,
  limits: GuardLimits,
  view: PoolView,
  memory: Memory,
): readonly [Memory, SizeDecision] {
  const [predicted, forecast] = policy.predict(view, memory);
  const [next, wanted] = policy.propose(view, forecast, predicted);
  const proposal = atLeastMin(view, wanted);
  const constrained = constrain(view, proposal, limits);
  return [
    next,
    {
      current: supply(view),
      forecast,
      proposed: proposal.target,
      constrained: constrained.target,
      reasons: [...proposal.reasons, ...constrained.reasons],
      meanFreenessSteps: meanFreenessSteps(view),
    },
  ];
}

/** Every policy's pool is brought back to its minimum, whatever the load. */
function atLeastMin(view: PoolView, proposal: Proposal): Proposal {
  const current = supply(view);
  const { min } = view.bounds;
  if (current >= min || proposal.target >= min) return proposal;
  return { target: min, reasons: [{ code: 'below_min', text: `${current} of at least ${min} instances run or start.` }, ...proposal.reasons] };
}
