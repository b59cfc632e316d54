// Emptying an instance: whether it may be drained, whether people must agree first, and what would go where.
import type { Refusal } from '../../proto/gen/messages.ts';
import { refusal } from '../errors/switchyard-error.ts';
import type { KnownInstance } from '../tracking/fleet-view.ts';
import { leavesNobody } from '../tracking/serving.ts';
import { planMove } from './move-request.ts';
import type { Move, PlanningLimits, PlanningView } from './planning.ts';

export interface DrainForecast {
  readonly instance: KnownInstance;
  /** Nobody else in the pool serves: the drain stops the pool. */
  readonly isLast: boolean;
  /** What could leave at once. */
  readonly moves: readonly Move[];
  /** What could not, and why. */
  readonly stuck: readonly { readonly requestId: string; readonly refusal: Refusal }[];
}

/**
 * Why `instanceId` cannot be drained, or what draining it would do, seen from now.
 * @param leaving instances whose drain has begun, though the view may not show their cordon yet
 */
export function forecastDrain(view: PlanningView, instanceId: string, leaving: Iterable<string>, limits: PlanningLimits): DrainForecast | Refusal {
  const instance = view.instances.find((each) => each.status.instanceId === instanceId);
  if (!instance) return refusal('unknown_instance', `no instance ${instanceId}; see "switchyard instances"`);
  if (instance.health === 'dead') return refusal('not_movable', `${instanceId} is dead: there is nothing to drain`);
  const isLast = leavesNobody(view.instances, instance.status.pool, [instanceId, ...leaving]);
  const moves: Move[] = [];
  const stuck: { requestId: string; refusal: Refusal }[] = [];
  for (const sequence of [...instance.status.sequences].sort((a, b) => b.priority - a.priority || (a.requestId < b.requestId ? -1 : 1))) {
    const taken = { ...view, active: [...view.active, ...moves.map(asActive)] };
    const decided = planMove(taken, { requestId: sequence.requestId, targetInstanceId: '', reason: 'drain', requestedBy: '' }, limits);
    if (decided.move) moves.push(decided.move);
    else stuck.push({ requestId: sequence.requestId, refusal: decided.refusal });
  }
  return { instance, isLast, moves, stuck };
}

function asActive(move: Move) {
  return {
    requestId: move.sequence.requestId,
    toEpoch: move.sequence.epoch + 1,
    sourceInstanceId: move.sourceInstanceId,
    targetInstanceId: move.targetInstanceId,
    reserveBlocks: move.reserveBlocks,
  };
}
