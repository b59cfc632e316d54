// What transferKv does to the world. Giving the reservation back is dropBlocks of migrate-request.
import type { ActivityImplementations } from '../../core/workflows/activities.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { copyInStages } from '../copy-stages.ts';
import { reservedOf } from '../migrate-request/activities.ts';
import type { ActivitySettings } from '../settings.ts';

type Names = 'reserveTransfer' | 'copyTransfer';

/** A sequence that decodes on writes less than a block while a stage runs: one repeat is enough, two are sure. */
const stages = 3;

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
      const { requestId, sourceInstanceId, targetInstanceId, epoch, connections } = plan;
      const job = { reservationId: plan.transferId, requestId, sourceInstanceId, targetInstanceId, epoch, held, connections };
      // The block being written is of no use to a cache.
      return copyInStages(ports, settings, job, { maxStages: stages + 1, enoughBlocks: 1, deadlineMs: plan.deadlineMs }, context);
    },
  };
}
