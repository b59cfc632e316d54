// What scalePool does to the world: starts and stops instances through whoever can, and waits for health.
import { refusal, SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { leavesNobody } from '../../core/tracking/serving.ts';
import type { ActivityImplementations } from '../../core/workflows/activities.ts';
import * as contracts from '../../lib/contracts.ts';
import { askFleet, askInstance } from '../../lib/fleet/ask-fleet.ts';
import { sleep } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { whileAlive } from '../alive.ts';
import { instanceIn, isGone } from '../ask-fleet.ts';
import type { ActivitySettings } from '../settings.ts';

type Names = 'checkScale' | 'startInstance' | 'awaitHealthy' | 'stopInstance' | 'reportScaling';

const betweenLooksMs = 250;

export function scalePoolActivities(ports: Ports, settings: ActivitySettings): Pick<ActivityImplementations, Names> {
  const { bus, clock, telemetry } = ports;
  const ended = telemetry.counter('switchyard_workflows_total');

  async function healthyOf(instanceIds: readonly string[]): Promise<string[]> {
    const view = await askFleet(bus, { timeoutMs: settings.askMs, withoutSequences: true });
    return instanceIds.filter((id) => instanceIn(view, id)?.health === 'healthy');
  }

  return {
    async checkScale(_, plan) {
      const view = await askFleet(bus, { timeoutMs: settings.askMs, withoutSequences: true });
      const present = view.instances.flatMap((instance) =>
        instance.status?.pool === plan.pool && !isGone(instance) ? [instance.status.instanceId] : [],
      );
      const missing = plan.stopInstanceIds.filter((id) => !present.includes(id));
      if (missing.length > 0) return { refusal: refusal('conditions_changed', `${missing.join(', ')} of pool ${plan.pool} no longer run`) };
      const after = new Set([...present.filter((id) => !plan.stopInstanceIds.includes(id)), ...plan.startInstanceIds]).size;
      if (after < plan.to) return { refusal: refusal('conditions_changed', `pool ${plan.pool} would have ${after} instances, not ${plan.to}`) };
      // The plan may have been made when others were still serving.
      if (!plan.needsApproval && plan.to > 0 && plan.stopInstanceIds.length > 0 && leavesNobody(view.instances, plan.pool, plan.stopInstanceIds))
        return { refusal: refusal('approval_required', `without ${plan.stopInstanceIds.join(', ')} nobody in pool ${plan.pool} takes requests`) };
      return { refusal: null };
    },

    async startInstance(_, { plan, instanceId }) {
      const { pool, epoch } = plan;
      const options = { timeoutMs: settings.launchMs, id: `${plan.scaleId}-start-${instanceId}` };
      const reply = await bus.request(contracts.startInstance, [instanceId], { pool, instanceId, epoch }, options);
      return { refusal: reply.refusal ?? null };
    },

    async awaitHealthy(context, { instanceIds, untilMs }) {
      let healthy: string[] = [];
      const waitForAll = async () => {
        while (!context.signal.aborted) {
          // A tracker that does not answer is being replaced: look again.
          healthy = await healthyOf(instanceIds).catch(() => healthy);
          if (healthy.length === instanceIds.length || clock.now() >= untilMs) return;
          await sleep(clock, betweenLooksMs, context.signal);
        }
      };
      await whileAlive(clock, context, () => healthy, waitForAll());
      return { healthy };
    },

    async stopInstance(_, { plan, instanceId }) {
      const { pool, epoch } = plan;
      const options = { timeoutMs: settings.launchMs, id: `${plan.scaleId}-stop-${instanceId}` };
      try {
        const reply = await bus.request(contracts.stopInstance, [instanceId], { pool, instanceId, epoch }, options);
        return { refusal: reply.refusal ?? null };
      } catch (thrown) {
        // Nobody answers for an instance that an earlier attempt has stopped.
        if (!(thrown instanceof SwitchyardError) || thrown.code !== 'no_responders') throw thrown;
        if (!isGone((await askInstance(bus, instanceId, settings.askMs)).instance)) throw thrown;
        return { refusal: null };
      }
    },

    async reportScaling(_, { plan, outcome }) {
      ended.add(1, { workflow: 'scalePool', outcome: outcome.outcome });
      const { scaleId, pool } = plan;
      bus.publish(contracts.scalingEnded, [], { scaleId, pool, ...outcome, atMs: clock.now() }, { id: scaleId });
    },
  };
}
