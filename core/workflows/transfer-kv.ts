// Copies a sequence's KV blocks to another instance without moving the sequence: prefill to decode, or cache reuse.
// What arrived stays in the target's cache when the reservation is given back, so both endings free it.
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
  await ctl.shielded(async () => {
    try {
      await act.dropBlocks({ instanceId: plan.targetInstanceId, reservationId: plan.transferId });
    } catch (thrown) {
      // It expires by itself.
      ctl.log('could not drop the reservation', { code: codeOf(thrown) });
    }
  });
  return {
    outcome: copied.code === '' ? 'completed' : 'failed',
    code: copied.code,
    blocks: copied.blocks,
    bytes: copied.bytes,
    elapsedMs: ctl.now() - startedAtMs,
  };
}

async function copy(plan: TransferPlan, act: TransferActivities, ctl: WorkflowControl): Promise<Copied> {
  const nothing = { stages: 0, blocks: 0, bytes: 0 };
  try {
    ctl.tell(`holding ${counted(plan.blocks, 'block')} on ${plan.targetInstanceId}`);
    const { held, refusal } = await act.reserveTransfer(plan);
    if (!held) return { ...nothing, code: refusal.code };
    ctl.tell(`${plan.sourceInstanceId} copies while it decodes on`);
    return await act.copyTransfer({ plan, held });
  } catch (thrown) {
    return { ...nothing, code: codeOf(thrown) };
  }
}
