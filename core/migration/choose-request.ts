// Which request leaves an overloaded instance: lower priority first, then the shortest context that is enough.
import type { SequenceStatus } from '../../proto/gen/messages.ts';
import { contextTokens, type MoveCost, remainingTokens } from './cost.ts';
import { carriesKv } from './mode.ts';
import type { PlanningLimits, PlanningView } from './planning.ts';
import type { PlannedInstance, PoolPicture } from './pool-picture.ts';
import { checkTarget, isRefusal } from './target.ts';

/** What a sequence of a prefill instance has said by the time that it has been given away, or stays. */
const givenWithinTokens = 64;

export interface Candidate {
  readonly sequence: SequenceStatus;
  readonly cost: MoveCost;
}

/** Sequences that rebalancing may move from `source` to `target`, in the order in which they are preferred. */
export function candidates(
  view: PlanningView,
  picture: PoolPicture,
  source: PlannedInstance,
  target: PlannedInstance,
  limits: PlanningLimits,
): Candidate[] {
  return [...source.status.sequences]
    .filter((sequence) => sequence.state === 'decode' && !picture.moving.has(sequence.requestId) && !isCooling(view, sequence, limits))
    .filter((sequence) => remainingTokens(sequence) >= limits.minRemainingTokens && !isBeingGiven(sequence, source))
    .sort(byPreference)
    .flatMap((sequence) => {
      const cost = checkTarget(sequence, source, target, limits, limits.maxPerInstance);
      if (isRefusal(cost) || !carriesKv(cost.mode) || cost.remainingMs < limits.minBenefitRatio * cost.expectedMs) return [];
      return [{ sequence, cost }];
    });
}

/**
 * Among the acceptable candidates of the lowest priority: the shortest that is `enough`, else the longest, which helps
 * most. Undefined: none is acceptable.
 */
export function pickRequest(
  list: readonly Candidate[],
  acceptable: (candidate: Candidate) => boolean,
  enough: (candidate: Candidate) => boolean,
): Candidate | undefined {
  const usable = list.filter(acceptable);
  const lowest = usable.filter((candidate) => candidate.sequence.priority === usable[0]?.sequence.priority);
  return lowest.find(enough) ?? lowest.at(-1);
}

/** Its agent gives away what has just begun to decode there. Two who copy the same sequence stop each other. */
function isBeingGiven({ outputTokens }: SequenceStatus, { status }: PlannedInstance): boolean {
  return status.role === 'prefill' && outputTokens < givenWithinTokens;
}

function isCooling(view: PlanningView, sequence: SequenceStatus, limits: PlanningLimits): boolean {
  const movedAtMs = view.movedAtMs.get(sequence.requestId);
  return movedAtMs !== undefined && view.nowMs - movedAtMs < limits.coolDownMs;
}

function byPreference(a: SequenceStatus, b: SequenceStatus): number {
  return a.priority - b.priority || contextTokens(a) - contextTokens(b) || (a.requestId < b.requestId ? -1 : 1);
}
