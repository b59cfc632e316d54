// Copies a sequence's KV blocks to another instance while the sequence decodes on where it is: for a migration whose copy is
// large, into what the migration holds; or into the other's cache, through a reservation of its own, which is given back
// however it ends, for what arrived stays in the cache.
import type { ActivityCatalogue, Copied } from './activities.ts';
import type { TransferOutcome, TransferPlan } from './catalogue.ts';
import { codeOf, type WorkflowControl } from './control.ts';
import { counted } from './story.ts';

export type TransferActivities = Pick<ActivityCatalogue, 'reserveTransfer' | 'copyTransfer' | 'dropBlocks'>;

/** Never throws: whatever fails, a cancellation too, ends in an outcome. */
export async function transferKv(plan: TransferPlan, act: TransferActivities, ctl: WorkflowControl): Promise<TransferOutcome> {
  const startedAtMs = ctl.now();
  const copied = await copy(plan, act, ctl);
  ctl.tell(copied.code === '' ? `copied ${counted(copied.blocks, 'block')} in ${counted(copied.stages, 'stage')}` : `stopped: ${copied.code}`);
  if (!plan.into) await giveBack(plan, act, ctl);
  return {
    outcome: copied.code === '' ? 'completed' : 'failed',
    code: copied.code,
    stages: copied.stages,
    blocks: copied.blocks,
    bytes: copied.bytes,
    elapsedMs: ctl.now() - startedAtMs,
  };
}

function giveBack(plan: TransferPlan, act: TransferActivities, ctl: WorkflowControl): Promise<void> {
  return ctl.shielded(async () => {
    try {
      await act.dropBlocks({ instanceId: plan.targetInstanceId, reservationId: plan.transferId });
    } catch (thrown) {
      // It expires by itself.
      ctl.log('could not drop the reservation', { code: codeOf(thrown) });
    }
  });
}

async function copy(plan: TransferPlan, act: TransferActivities, ctl: WorkflowControl): Promise<Copied> {
  const nothing = { stages: 0, blocks: 0, bytes: 0 };
  try {
    let held = plan.into?.held;
    if (!held) {
      ctl.tell(`holding ${counted(plan.blocks, 'block')} on ${plan.targetInstanceId}`);
      const reserved = await act.reserveTransfer(plan);
      if (!reserved.held) return { ...nothing, code: reserved.refusal.code };
      held = reserved.held;
    }
    ctl.tell(`${plan.sourceInstanceId} copies while it decodes on`);
    return await act.copyTransfer({ plan, held });
  } catch (thrown) {
    return { ...nothing, code: codeOf(thrown) };
  }
}
