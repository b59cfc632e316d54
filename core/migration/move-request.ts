// A move that somebody asked for: an operator names a request and perhaps a target, a drain names the request only.
import type { MoveCommand, Refusal } from '../../proto/gen/messages.ts';
import { refusal } from '../errors/switchyard-error.ts';
import { type MoveCost, remainingTokens } from './cost.ts';
import { tooEarlyForKv } from './mode.ts';
import type { MoveDecision, PlanningLimits, PlanningView } from './planning.ts';
import { type PlannedInstance, type PoolPicture, picturesOf } from './pool-picture.ts';
import { costSentence, toMove } from './rebalance.ts';
import { checkTarget, chooseTarget, isRefusal } from './target.ts';

export interface MoveQuestion {
  readonly requestId: string;
  /** Empty: the best one is chosen. */
  readonly targetInstanceId: string;
  readonly reason: MoveCommand['reason'];
  readonly requestedBy: string;
}

/** The move, or why not. Cool-down and cost do not hold here; capacity, health and limits do. */
export function planMove(view: PlanningView, question: MoveQuestion, limits: PlanningLimits): MoveDecision {
  const { requestId } = question;
  const pictures = picturesOf(view);
  const found = findRequest(pictures, requestId);
  const isMoving = refusal('already_moving', `request ${requestId} is being moved; see "switchyard status"`, 1_000);
  if (view.active.some((move) => move.requestId === requestId)) return no(isMoving);
  if (pictures.some((picture) => picture.moving.has(requestId)))
    return early(refusal('not_movable', `request ${requestId} has just been moved and its instance has not reported yet; ask again`, 500));
  if (!found) return early(refusal('unknown_request', `no running request ${requestId}; see "switchyard requests"`));
  const { picture, source, sequence } = found;
  if (sequence.state === 'paused') return no(isMoving);
  if (source.instance.health === 'dead') return no(refusal('not_movable', `${source.id} is dead; its requests continue elsewhere by themselves`));
  if (question.reason !== 'operator' && remainingTokens(sequence) < limits.minRemainingTokens)
    return no(refusal('not_movable', `request ${requestId} has ${remainingTokens(sequence)} tokens to go and finishes sooner where it is`, 1_000));
  if (view.active.length >= limits.maxForcedActive)
    return no(refusal('not_movable', `${view.active.length} migrations run now, the limit is ${limits.maxForcedActive}; ask again`, 500));
  if (source.moves >= limits.maxForcedPerInstance)
    return no(
      refusal('not_movable', `${source.id} has ${source.moves} migrations running, the limit is ${limits.maxForcedPerInstance}; ask again`, 500),
    );

  const why =
    question.reason === 'operator' ? `${question.requestedBy || 'An operator'} asked for it.` : `${source.id} is being emptied (${question.reason}).`;
  const go = (target: PlannedInstance, cost: MoveCost, reasons: readonly string[]): MoveDecision => ({
    move: toMove(source, target, { sequence, cost }, question.reason, [why, ...reasons, costSentence(source, { sequence, cost })]),
    early: tooEarlyForKv(sequence, source.instance.status, target.instance.status),
  });
  if (question.targetInstanceId !== '') {
    const target = pictures.flatMap((each) => each.instances).find((planned) => planned.id === question.targetInstanceId);
    if (!target) return early(refusal('unknown_instance', `no instance ${question.targetInstanceId}; see "switchyard instances"`));
    const cost = checkTarget(sequence, source, target, limits, limits.maxForcedPerInstance);
    if (isRefusal(cost)) return no(cost);
    return go(target, cost, []);
  }
  const choice = chooseTarget(sequence, source, picture, limits, limits.maxForcedPerInstance);
  if (!choice) return no(refusal('no_target', nobody(picture, found, limits), 1_000));
  const { target, cost, freenessAfterSteps } = choice;
  const chosen = `${target.id} is the freest that can take it: ${Number.isFinite(freenessAfterSteps) ? Math.round(freenessAfterSteps) : 'unlimited'} steps afterwards.`;
  return go(target, cost, [chosen]);
}

interface Found {
  readonly picture: PoolPicture;
  readonly source: PlannedInstance;
  readonly sequence: PlannedInstance['status']['sequences'][number];
}

/** While a hand-over is on its way two instances may report the request: the later epoch speaks for it. */
function findRequest(pictures: readonly PoolPicture[], requestId: string): Found | undefined {
  let found: Found | undefined;
  for (const picture of pictures) {
    for (const source of picture.instances) {
      const sequence = source.instance.status.sequences.find((each) => each.requestId === requestId);
      if (sequence && (!found || sequence.epoch > found.sequence.epoch)) found = { picture, source, sequence };
    }
  }
  return found;
}

/** Why each instance of the pool said no; as many as fit into a message. */
function nobody(picture: PoolPicture, { source, sequence }: Found, limits: PlanningLimits): string {
  const answers = picture.instances
    .filter((planned) => planned.id !== source.id)
    .flatMap((planned) => {
      const result = checkTarget(sequence, source, planned, limits, limits.maxForcedPerInstance);
      return isRefusal(result) ? [result.message] : [];
    });
  if (answers.length === 0) return `pool ${picture.pool} has no other instance; start one with "switchyard scale"`;
  return `no instance of pool ${picture.pool} can take it: ${answers.slice(0, 3).join('; ')}${answers.length > 3 ? '; …' : ''}`;
}

function no(why: Refusal): MoveDecision {
  return { refusal: why, early: false };
}

function early(why: Refusal): MoveDecision {
  return { refusal: why, early: true };
}
