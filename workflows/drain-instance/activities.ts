// What drainInstance does to the world: cordons, asks the coordinator to move what is there, looks whether it is empty.
import { refusal, SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { leavesNobody } from '../../core/tracking/serving.ts';
import type { ActivityImplementations, MovedRequest } from '../../core/workflows/activities.ts';
import type { DrainPlan } from '../../core/workflows/catalogue.ts';
import type { ActivityContext } from '../../core/workflows/control.ts';
import * as contracts from '../../lib/contracts.ts';
import { askFleet, askInstance } from '../../lib/fleet/ask-fleet.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { whileAlive } from '../alive.ts';
import { freshSequences, instanceIn, isGone } from '../ask-fleet.ts';
import type { ActivitySettings } from '../settings.ts';

type Names = 'checkDrain' | 'setCordon' | 'moveAway' | 'confirmEmpty';

/** A report comes every 500 ms. */
const freshWithinMs = 2_000;
/** Not a move, and no failure: the request is on its way already, or over. */
const nothingToMove: ReadonlySet<string> = new Set(['already_moving', 'sequence_finished', 'unknown_request']);

export function drainInstanceActivities(ports: Ports, settings: ActivitySettings): Pick<ActivityImplementations, Names> {
  const { bus, clock, workflows } = ports;

  async function moveOne(plan: DrainPlan, requestId: string): Promise<MovedRequest | undefined> {
    try {
      const reply = await bus.request(
        contracts.moveRequest,
        [],
        { requestId, targetInstanceId: '', requestedBy: plan.requestedBy, reason: plan.reason },
        { timeoutMs: settings.askMs },
      );
      if (reply.refusal) return nothingToMove.has(reply.refusal.code) ? undefined : { requestId, migrationId: '', code: reply.refusal.code };
      const { outcome, code } = await workflows.result('migrateRequest', reply.workflowId);
      return { requestId, migrationId: reply.workflowId, code: outcome === 'committed' ? '' : code };
    } catch (thrown) {
      // The next round looks at what is left, and tries again.
      return { requestId, migrationId: '', code: thrown instanceof SwitchyardError ? thrown.code : 'internal' };
    }
  }

  async function moveAll(plan: DrainPlan, requestIds: readonly string[], done: MovedRequest[], context: ActivityContext): Promise<void> {
    const waiting = requestIds.filter((id) => !done.some((move) => move.requestId === id));
    const mover = async () => {
      for (let next = waiting.shift(); next !== undefined && !context.signal.aborted; next = waiting.shift()) {
        const moved = await moveOne(plan, next);
        if (moved) done.push(moved);
        context.heartbeat(done);
      }
    };
    await Promise.all(Array.from({ length: settings.parallelMoves }, mover));
  }

  return {
    async checkDrain(_, plan) {
      const view = await askFleet(bus, { timeoutMs: settings.askMs, withoutSequences: true });
      const instance = instanceIn(view, plan.instanceId);
      if (isGone(instance)) return { refusal: refusal('unknown_instance', `${plan.instanceId} does not run any more`) };
      // The plan may have been made when others were still serving.
      if (!plan.approval && plan.reason !== 'scale_in' && leavesNobody(view.instances, plan.pool, [plan.instanceId]))
        return { refusal: refusal('approval_required', `${plan.instanceId} has become the last instance of pool ${plan.pool}`) };
      return { refusal: null };
    },

    async setCordon(_, { instanceId, reason }) {
      const reply = await bus.request(contracts.cordon, [], { instanceId, cordoned: reason !== 'none', reason }, { timeoutMs: settings.askMs });
      if (!reply.refusal) return;
      // An instance that is gone needs no cordon, and none taken off.
      if (reply.refusal.code !== 'unknown_instance') throw new SwitchyardError('not_owner', `cordon ${instanceId}: ${reply.refusal.message}`);
    },

    async moveAway(context, plan) {
      const done: MovedRequest[] = Array.isArray(context.lastHeartbeat) ? [...(context.lastHeartbeat as MovedRequest[])] : [];
      const { instance } = await askInstance(bus, plan.instanceId, settings.askMs);
      // What ran on an instance that is gone goes on elsewhere, from the gateways' token logs.
      if (isGone(instance)) return { moves: done, left: 0 };
      const present = (instance.status?.sequences ?? []).map((sequence) => sequence.requestId);
      await whileAlive(clock, context, () => done, moveAll(plan, present, done, context));
      const left = await freshSequences(ports, plan.instanceId, settings.askMs, freshWithinMs);
      return { moves: done, left: left.length };
    },

    async confirmEmpty(_, { instanceId }) {
      return { left: (await freshSequences(ports, instanceId, settings.askMs, freshWithinMs)).length };
    },
  };
}
