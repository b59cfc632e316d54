// Moves one running request: reserve, pre-copy while the source decodes on, cut over, release. The hand-over inside the
// cut-over is the point of no return; anything that goes wrong before it puts both sides back to where they were.
import type { MigrationPlan } from '../../proto/gen/messages.ts';
import type { ActivityCatalogue, CopyProgress, CutOver, Held } from './activities.ts';
import type { MigrationOutcome } from './catalogue.ts';
import { codeOf, type WorkflowControl } from './control.ts';

export type MigrationActivities = Pick<
  ActivityCatalogue,
  'reserveBlocks' | 'preCopy' | 'cutOver' | 'askOutcome' | 'releaseSource' | 'dropBlocks' | 'reportMigration'
>;

/** Never throws: whatever fails ends in an outcome. A cancelled one is aborted, unless it had committed already. */
export async function migrateRequest(plan: MigrationPlan, act: MigrationActivities, ctl: WorkflowControl): Promise<MigrationOutcome> {
  const startedAtMs = ctl.now();
  const prepared = plan.mode === 'copy' ? await prepare(plan, act, ctl) : nothingToCopy;
  // Shielded from here on: a cancellation that arrives now is too late to be cheap, and half a hand-over is worse.
  const cut = await ctl.shielded(async () => {
    const result = prepared.code === '' ? await commit(plan, prepared, act, ctl) : notCommitted(prepared.code);
    await tidy(plan, result.committed, act, ctl);
    return result;
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
  await ctl.shielded(() => tryTo('report the migration', () => act.reportMigration({ plan, outcome }), ctl));
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
    const { held, refusal } = await act.reserveBlocks(plan);
    if (!held) return { ...nothingToCopy, code: refusal.code };
    const copied = await act.preCopy({ plan, held });
    if (copied.code === '' && ctl.now() >= plan.deadlineMs) return { ...copied, held, code: 'deadline_exceeded' };
    return { ...copied, held };
  } catch (thrown) {
    return { ...nothingToCopy, code: codeOf(thrown) };
  }
}

/**
 * The hand-over. When its answer is lost (a worker died, every try timed out) the outcome is asked for until it is
 * known. Only a gateway that is gone, and its clients with it, ends the asking: the request has no owner then, and
 * putting things back is safe, because nobody listens to either side any more.
 */
async function commit(plan: MigrationPlan, prepared: Prepared, act: MigrationActivities, ctl: WorkflowControl): Promise<CutOver> {
  try {
    return await act.cutOver({ plan, held: prepared.held, stage: prepared.stages });
  } catch (thrown) {
    ctl.log('hand-over unanswered, asking for its outcome', { code: codeOf(thrown) });
    try {
      const known = await act.askOutcome(plan);
      return { ...notCommitted(known.code || codeOf(thrown)), committed: known.committed };
    } catch (silent) {
      return notCommitted(codeOf(silent));
    }
  }
}

/**
 * Committed: the source frees. Otherwise it goes on, and the target frees. What cannot be reached frees itself: a
 * reservation expires, a paused source resumes after its lease and is told by the gateway that its epoch is over.
 */
async function tidy(plan: MigrationPlan, committed: boolean, act: MigrationActivities, ctl: WorkflowControl): Promise<void> {
  const release = tryTo('release the source', () => act.releaseSource({ plan, committed }), ctl);
  const drop =
    committed || plan.mode !== 'copy'
      ? Promise.resolve()
      : tryTo('drop the reservation', () => act.dropBlocks({ instanceId: plan.targetInstanceId, reservationId: plan.migrationId }), ctl);
  await Promise.all([release, drop]);
}

async function tryTo(what: string, run: () => Promise<void>, ctl: WorkflowControl): Promise<void> {
  try {
    await run();
  } catch (thrown) {
    ctl.log(`could not ${what}`, { code: codeOf(thrown) });
  }
}

function notCommitted(code: string): CutOver {
  return { committed: false, code, blocks: 0, bytes: 0, downtimeMs: 0 };
}
