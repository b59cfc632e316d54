// Moves one running request: reserve, pre-copy while the source decodes on, cut over, release. The hand-over inside the
// cut-over is the point of no return; anything that goes wrong before it puts both sides back to where they were.
import type { MigrationPlan } from '../../proto/gen/messages.ts';
import { carriesKv, mayRecomputeAfter } from '../migration/mode.ts';
import type { ActivityCatalogue, Copied, CopyProgress, CutOver, Held } from './activities.ts';
import type { MigrationOutcome } from './catalogue.ts';
import { codeOf, type WorkflowControl } from './control.ts';
import { counted } from './story.ts';

export type MigrationActivities = Pick<
  ActivityCatalogue,
  'reserveBlocks' | 'preCopy' | 'preCopyShort' | 'cutOver' | 'askOutcome' | 'releaseSource' | 'dropBlocks' | 'reportMigration'
>;

/** Never throws: whatever fails ends in an outcome. A cancelled one is aborted, unless it had committed already. */
export async function migrateRequest(plan: MigrationPlan, act: MigrationActivities, ctl: WorkflowControl): Promise<MigrationOutcome> {
  const startedAtMs = ctl.now();
  const prepared = carriesKv(plan.mode) ? await prepare(plan, act, ctl) : nothingToCopy;
  // Shielded from here on: a cancellation that arrives now is too late to be cheap, and half a hand-over is worse.
  const { cut, plan: done } = await ctl.shielded(async () => {
    const result = prepared.code === '' ? await commit(plan, prepared, act, ctl) : await unprepared(plan, prepared.code, act);
    const settled = result.committed || !recomputes(plan, result.code) ? { plan, cut: result } : await recompute(plan, result, act, ctl);
    await tidy(plan, settled, act, ctl);
    return settled;
  });
  const outcome: MigrationOutcome = {
    outcome: cut.committed ? 'committed' : 'aborted',
    code: cut.committed ? '' : cut.code,
    stages: prepared.stages + (cut.blocks > 0 || cut.committed ? 1 : 0),
    blocks: prepared.blocks + cut.blocks,
    bytes: prepared.bytes + cut.bytes,
    downtimeMs: cut.downtimeMs,
    totalMs: ctl.now() - startedAtMs,
  };
  ctl.tell(
    cut.committed
      ? `**committed**: ${counted(outcome.blocks, 'block')} in ${counted(outcome.stages, 'stage')}, tokens stood still for ${Math.round(outcome.downtimeMs)} ms`
      : `**aborted** (${outcome.code}): the request goes on where it is`,
  );
  await ctl.shielded(() => tryTo('report the migration', () => act.reportMigration({ plan: done, outcome }), ctl));
  return outcome;
}

interface Prepared extends CopyProgress {
  readonly held: Held | null;
  /** Empty: ready to cut over. */
  readonly code: string;
}

const nothingToCopy: Prepared = { held: null, code: '', stages: 0, blocks: 0, bytes: 0 };

async function prepare(plan: MigrationPlan, act: MigrationActivities, ctl: WorkflowControl): Promise<Prepared> {
  try {
    ctl.tell(`holding ${counted(plan.reserveBlocks, 'block')} on ${plan.targetInstanceId}`);
    const { held, refusal } = await act.reserveBlocks(plan);
    if (!held) {
      ctl.tell(`${plan.targetInstanceId} refused: ${refusal.message}`);
      return { ...nothingToCopy, code: refusal.code };
    }
    ctl.tell(`copying in stages; ${plan.sourceInstanceId} decodes on`);
    const copied = await copyAhead(plan, held, act, ctl);
    ctl.tell(`copied ${counted(copied.blocks, 'block')} in ${counted(copied.stages, 'stage')}`);
    if (copied.code === '' && ctl.now() >= plan.deadlineMs) return { ...copied, held, code: 'deadline_exceeded' };
    return { ...copied, held };
  } catch (thrown) {
    return { ...nothingToCopy, code: codeOf(thrown) };
  }
}

/** A large copy is a workflow of its own: it can be watched, outlives more workers, and goes on over lost connections. */
async function copyAhead(plan: MigrationPlan, held: Held, act: MigrationActivities, ctl: WorkflowControl): Promise<Copied> {
  if (!plan.bulkCopy) return await (plan.shortCopy ? act.preCopyShort({ plan, held }) : act.preCopy({ plan, held }));
  const { migrationId, requestId, fromEpoch, sourceInstanceId, targetInstanceId, connections, reservationTtlMs, deadlineMs } = plan;
  const { stages, blocks, bytes, code } = await ctl.child('transferKv', `${migrationId}-kv`, {
    ...{ transferId: `${migrationId}-kv`, requestId, epoch: fromEpoch, sourceInstanceId, targetInstanceId },
    ...{ blocks: plan.reserveBlocks, connections, reservationTtlMs, deadlineMs },
    into: { reservationId: migrationId, held, maxStages: plan.maxStages, enoughBlocks: plan.lastStageBlocks },
  });
  return { stages, blocks, bytes, code };
}

/**
 * Before a short copy nothing is written down: a worker that takes over begins anew, and is refused where the one that died
 * has been. That one may have come as far as the hand-over.
 */
async function unprepared(plan: MigrationPlan, code: string, act: MigrationActivities): Promise<CutOver> {
  if (!plan.shortCopy) return notCommitted(code);
  try {
    const { committed } = await act.askOutcome(plan);
    return { ...notCommitted(code), committed };
  } catch {
    return notCommitted(code);
  }
}

/**
 * The hand-over. When its answer is lost (a worker died, every try timed out) the outcome is asked for until it is
 * known. Only a gateway that is gone, and its clients with it, ends the asking: the request has no owner then, and
 * putting things back is safe, because nobody listens to either side any more.
 */
async function commit(plan: MigrationPlan, prepared: Prepared, act: MigrationActivities, ctl: WorkflowControl): Promise<CutOver> {
  ctl.tell(prepared.held ? `pausing it on ${plan.sourceInstanceId}, copying the rest, handing over` : 'handing over; the target recomputes');
  try {
    return await act.cutOver({ plan, held: prepared.held, stage: prepared.stages });
  } catch (thrown) {
    ctl.log('hand-over unanswered, asking for its outcome', { code: codeOf(thrown) });
    ctl.tell(`no answer about the hand-over (${codeOf(thrown)}): asking ${plan.gatewayId} what became of it`);
    try {
      const known = await act.askOutcome(plan);
      return { ...notCommitted(known.code || codeOf(thrown)), committed: known.committed };
    } catch (silent) {
      return notCommitted(codeOf(silent));
    }
  }
}

interface Settled {
  /** As it was carried out in the end. */
  readonly plan: MigrationPlan;
  readonly cut: CutOver;
}

function recomputes(plan: MigrationPlan, code: string): boolean {
  return plan.recomputeInstead && mayRecomputeAfter(code);
}

/**
 * The KV could not be moved and nothing was handed over: the target computes the context again, and the source decodes on until
 * then; but only a target that still answers, and has freed what it held. The hand-over has an id of its own, for the gateway may
 * have been asked for the last time about the first one.
 */
async function recompute(plan: MigrationPlan, failed: CutOver, act: MigrationActivities, ctl: WorkflowControl): Promise<Settled> {
  ctl.tell(`moving its KV failed (${failed.code}): ${plan.targetInstanceId} is to compute it again`);
  try {
    await act.dropBlocks({ instanceId: plan.targetInstanceId, reservationId: plan.migrationId });
  } catch (thrown) {
    ctl.tell(`${plan.targetInstanceId} does not answer (${codeOf(thrown)})`);
    return { plan, cut: failed };
  }
  const instead: MigrationPlan = { ...plan, mode: 'recompute', recomputeInstead: false };
  const cut = await commit({ ...instead, migrationId: `${plan.migrationId}-recompute` }, nothingToCopy, act, ctl);
  return { plan: instead, cut: { ...cut, blocks: failed.blocks, bytes: failed.bytes } };
}

/**
 * Committed: the source frees. Otherwise it goes on, and the target frees. What cannot be reached frees itself: a
 * reservation expires, a paused source resumes after its lease and is told by the gateway that its epoch is over.
 */
async function tidy(plan: MigrationPlan, { plan: done, cut }: Settled, act: MigrationActivities, ctl: WorkflowControl): Promise<void> {
  const { committed } = cut;
  const release = tryTo('release the source', () => act.releaseSource({ plan, committed }), ctl);
  const drop =
    committed || !carriesKv(done.mode)
      ? Promise.resolve()
      : tryTo('drop the reservation', () => act.dropBlocks({ instanceId: plan.targetInstanceId, reservationId: plan.migrationId }), ctl);
  await Promise.all([release, drop]);
}

async function tryTo(what: string, run: () => Promise<void>, ctl: WorkflowControl): Promise<void> {
  try {
    await run();
  } catch (thrown) {
    ctl.log(`could not ${what}`, { code: codeOf(thrown) });
    ctl.tell(`could not ${what} (${codeOf(thrown)})`);
  }
}

function notCommitted(code: string): CutOver {
  return { committed: false, code, blocks: 0, bytes: 0, downtimeMs: 0 };
}
