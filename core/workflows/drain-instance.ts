// Empties an instance: cordon, then move away what is there, round after round, until nothing is left or the time is
// over. It works from what is on the instance now, not from a list made at the start: requests finish by themselves
// meanwhile, and a router with an old view may still have sent one.

import { drainPayload } from '../approval/requests.ts';
import type { ActivityCatalogue, MoveRound } from './activities.ts';
import { askFirst, type Permission, reportExecution } from './approved-execution.ts';
import type { DrainOutcome, DrainPlan } from './catalogue.ts';
import { codeOf, isCancelled, type WorkflowControl } from './control.ts';
import { counted } from './story.ts';

export type DrainActivities = Pick<ActivityCatalogue, 'checkDrain' | 'setCordon' | 'moveAway' | 'confirmEmpty' | 'recordApproval'>;

/** Between rounds. A round in which nothing moved doubles the wait, up to the longest. */
const shortestPauseMs = 250;
const longestPauseMs = 5_000;

interface Tally {
  readonly moved: Set<string>;
  readonly failed: Set<string>;
  left: number;
}

/**
 * Never throws. `not_empty` leaves the cordon in place: the operator wants the instance empty, and what is left
 * finishes there. `cancelled` and a failure take the cordon off again.
 */
export async function drainInstance(plan: DrainPlan, act: DrainActivities, ctl: WorkflowControl): Promise<DrainOutcome> {
  const tally: Tally = { moved: new Set(), failed: new Set(), left: 0 };
  let permission: Permission = { granted: false, code: 'cancelled' };
  let cordoned = false;
  let outcome: DrainOutcome;
  try {
    permission = await askFirst(plan.approval, drainPayload(plan), () => act.checkDrain(plan), act, ctl);
    if (!permission.granted) {
      outcome = ended(permission.code === 'cancelled' ? 'cancelled' : 'refused', permission.code, tally);
      ctl.tell(storyEnd(plan, outcome));
      return outcome;
    }
    cordoned = true;
    ctl.tell(`closing ${plan.instanceId} to new requests`);
    await act.setCordon({ instanceId: plan.instanceId, reason: plan.reason });
    const empty = await empties(plan, tally, act, ctl);
    outcome = empty ? ended('empty', '', tally) : ended('not_empty', 'deadline_exceeded', tally);
  } catch (thrown) {
    if (cordoned) await uncordon(plan, act, ctl);
    outcome = ended(isCancelled(thrown) ? 'cancelled' : 'refused', codeOf(thrown), tally);
  }
  ctl.tell(storyEnd(plan, outcome));
  await reportExecution(permission, { succeeded: outcome.outcome === 'empty', code: outcome.code }, act, ctl);
  return outcome;
}

async function empties(plan: DrainPlan, tally: Tally, act: DrainActivities, ctl: WorkflowControl): Promise<boolean> {
  const untilMs = ctl.now() + plan.withinMs;
  let pauseMs = shortestPauseMs;
  for (;;) {
    const round = await act.moveAway(plan);
    for (const move of round.moves) {
      if (move.code === '') tally.moved.add(move.requestId);
      else tally.failed.add(move.requestId);
    }
    tally.left = round.left;
    if (round.moves.length > 0 || round.left > 0) ctl.tell(storyOf(round));
    const progress = round.moves.some((move) => move.code === '');
    pauseMs = progress ? shortestPauseMs : Math.min(longestPauseMs, pauseMs * 2);
    if (round.left === 0) {
      // Routers that had not heard of the cordon have by now.
      await ctl.sleep(shortestPauseMs);
      tally.left = (await act.confirmEmpty({ instanceId: plan.instanceId })).left;
      if (tally.left === 0) return true;
      pauseMs = shortestPauseMs;
    }
    const leftMs = untilMs - ctl.now();
    if (leftMs <= 0) return false;
    await ctl.sleep(Math.min(pauseMs, leftMs));
  }
}

function storyOf({ moves, left }: MoveRound): string {
  const moved = moves.filter((move) => move.code === '').length;
  const codes = [...new Set(moves.flatMap((move) => (move.code === '' ? [] : [move.code])))].sort();
  const stayed = codes.length === 0 ? '' : `, ${moves.length - moved} stayed (${codes.join(', ')})`;
  return `${counted(moved, 'request')} moved away${stayed}, ${left} left`;
}

function storyEnd({ instanceId }: DrainPlan, { outcome, code, moved, left }: DrainOutcome): string {
  if (outcome === 'empty') return `**empty**: ${counted(moved, 'request')} moved away; ${instanceId} stays closed`;
  if (outcome === 'not_empty') return `**not empty** in time: ${counted(left, 'request')} finish there; ${instanceId} stays closed`;
  return `**${outcome}** (${code}): ${instanceId} takes requests as before`;
}

async function uncordon(plan: DrainPlan, act: DrainActivities, ctl: WorkflowControl): Promise<void> {
  try {
    await ctl.shielded(() => act.setCordon({ instanceId: plan.instanceId, reason: 'none' }));
  } catch (thrown) {
    ctl.log('could not take the cordon off', { instance: plan.instanceId, code: codeOf(thrown) });
  }
}

function ended(outcome: DrainOutcome['outcome'], code: string, tally: Tally): DrainOutcome {
  const failedMoves = [...tally.failed].filter((id) => !tally.moved.has(id)).length;
  return { outcome, code, moved: tally.moved.size, failedMoves, left: tally.left };
}
