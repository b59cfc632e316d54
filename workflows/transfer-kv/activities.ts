// What transferKv does to the world. Giving the reservation back is dropBlocks of migrate-request.
import type { ActivityImplementations } from '../../core/workflows/activities.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { copyInStages } from '../copy-stages.ts';
import { reservedOf } from '../migrate-request/activities.ts';
import type { ActivitySettings } from '../settings.ts';

type Names = 'reserveTransfer' | 'copyTransfer';

/**
 * Into a cache. A sequence that decodes on writes less than a block while a stage runs: one repeat is enough, two are
 * sure. The block being written is of no use there.
 */
const intoCache = { maxStages: 4, enoughBlocks: 1 };
/** Tries of one stage whose connections were all lost; what arrived is not sent again. */
const triesOfStage = 4;

export function transferKvActivities(ports: Ports, settings: ActivitySettings): Pick<ActivityImplementations, Names> {
  return {
    async reserveTransfer(_, plan) {
      const reply = await ports.bus.request(
        contracts.reserve,
        [plan.targetInstanceId],
        {
          instanceId: plan.targetInstanceId,
          reservationId: plan.transferId,
          requestId: plan.requestId,
          epoch: plan.epoch,
          blocks: plan.blocks,
          ttlMs: plan.reservationTtlMs,
          purpose: 'cache',
          sourceInstanceId: plan.sourceInstanceId,
        },
        { timeoutMs: settings.askMs },
      );
      return reservedOf(reply);
    },

    copyTransfer(context, { plan, held }) {
      const { requestId, sourceInstanceId, targetInstanceId, epoch, connections, deadlineMs } = plan;
      const reservationId = plan.into?.reservationId ?? plan.transferId;
      const job = { reservationId, requestId, sourceInstanceId, targetInstanceId, epoch, held, connections };
      const { maxStages, enoughBlocks } = plan.into ?? intoCache;
      return copyInStages(ports, settings, job, { maxStages, enoughBlocks, deadlineMs, triesOfStage }, context);
    },
  };
}
