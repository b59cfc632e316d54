// Where a sequence may go, and the best of these. The one place that says who can be a target: rebalancing, drains and
// operators all ask here.
import type { Refusal, SequenceStatus } from '../../proto/gen/messages.ts';
import { refusal } from '../errors/switchyard-error.ts';
import { type MoveCost, moveCost } from './cost.ts';
import type { PlanningLimits } from './planning.ts';
import { balanceSteps, type PlannedInstance, type PoolPicture, withSequence } from './pool-picture.ts';

export interface TargetChoice {
  readonly target: PlannedInstance;
  readonly cost: MoveCost;
  /** Of the target after the move, steps. */
  readonly freenessAfterSteps: number;
}

/** Why `target` cannot take `sequence` from `source`, or what it costs. */
export function checkTarget(
  sequence: SequenceStatus,
  source: PlannedInstance,
  target: PlannedInstance,
  limits: PlanningLimits,
  maxPerInstance: number,
): MoveCost | Refusal {
  const { instance, status } = target;
  if (target.id === source.id) return refusal('invalid_request', `request ${sequence.requestId} runs on ${target.id} already; name another instance`);
  if (instance.status.pool !== source.instance.status.pool)
    return refusal(
      'invalid_request',
      `${target.id} serves pool ${status.pool}, the request runs in pool ${source.instance.status.pool}; name an instance of that pool`,
    );
  if (instance.health !== 'healthy')
    return refusal('no_target', `${target.id} is ${instance.health}; choose a healthy instance or let the coordinator choose`);
  if (instance.stale) return refusal('no_target', `${target.id} has not reported lately; ask again, or choose another`);
  if (instance.cordoned) return refusal('no_target', `${target.id} is cordoned (${instance.cordonReason}); undrain it or choose another`);
  if (!status.accepting) return refusal('no_target', `${target.id} accepts nothing now; choose another`);
  const cost = moveCost(sequence, source.status, status, limits);
  if (!cost) return refusal('not_movable', `neither copying nor recomputing is possible from ${source.id} to ${target.id}`);
  if (sequence.promptTokens + sequence.maxOutputTokens > status.maxContextTokens)
    return refusal(
      'target_full',
      `${target.id} serves contexts up to ${status.maxContextTokens} tokens, the request may reach ${sequence.promptTokens + sequence.maxOutputTokens}`,
    );
  const running = status.running + target.leavingSequences;
  if (running + status.waiting >= status.maxRunning)
    return refusal('target_full', `${target.id} runs ${running} of ${status.maxRunning} sequences and ${status.waiting} wait`, 1_000);
  const room = status.freeBlocks - target.leavingBlocks - status.waitingBlocks - limits.spareBlocks;
  if (cost.reserveBlocks > room)
    return refusal('target_full', `${target.id} has room for ${Math.max(0, room)} blocks, the request needs ${cost.reserveBlocks}`, 1_000);
  if (target.moves >= maxPerInstance)
    return refusal('target_full', `${target.id} has ${target.moves} migrations running, the limit is ${maxPerInstance}; ask again`, 500);
  return cost;
}

export function isRefusal(result: MoveCost | Refusal): result is Refusal {
  return 'code' in result;
}

/**
 * The target that is freest after the move; ties go to the smaller id. One that prefills for others only when nobody else can take
 * it: it would decode beside its prompts, and has to go somewhere. Undefined: nobody can take it.
 */
export function chooseTarget(
  sequence: SequenceStatus,
  source: PlannedInstance,
  picture: PoolPicture,
  limits: PlanningLimits,
  maxPerInstance: number,
): TargetChoice | undefined {
  const prefills = ({ status }: PlannedInstance) => status.role === 'prefill';
  const among = (targets: readonly PlannedInstance[]) => freest(sequence, source, targets, limits, maxPerInstance);
  return among(picture.instances.filter((target) => !prefills(target))) ?? among(picture.instances.filter(prefills));
}

function freest(
  sequence: SequenceStatus,
  source: PlannedInstance,
  targets: readonly PlannedInstance[],
  limits: PlanningLimits,
  maxPerInstance: number,
): TargetChoice | undefined {
  let best: TargetChoice | undefined;
  for (const target of targets) {
    const cost = checkTarget(sequence, source, target, limits, maxPerInstance);
    if (isRefusal(cost)) continue;
    const freenessAfterSteps = balanceSteps(withSequence(target.status, sequence, cost.reserveBlocks), limits);
    if (!best || freenessAfterSteps > best.freenessAfterSteps) best = { target, cost, freenessAfterSteps };
  }
  return best;
}
