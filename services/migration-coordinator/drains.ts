// The drains that run, at most one per instance. Temporal lists a new workflow only after a while and the fleet view shows
// a cordon only after it was set, so what was begun here is remembered: a second drain must not miss the first.
import { approvalIdOf } from '../../core/approval/requests.ts';
import type { DrainPlan } from '../../core/workflows/catalogue.ts';
import type { Effects } from './effects.ts';
import { instanceOfDrain } from './ids.ts';

interface Drain {
  readonly drainId: string;
  /** It waits, or has waited, for people: its instance serves until they agree. */
  readonly asksFirst: boolean;
  /** The start has not been answered yet. */
  starting: boolean;
}

export type Drains = ReturnType<typeof createDrains>;

export function createDrains(effects: Effects) {
  /** By instance: as many as instances that are drained. */
  const known = new Map<string, Drain>();

  return {
    /** Looks what runs. What is asked afterwards is true for the rest of the turn. @throws SwitchyardError `workflows_unavailable` */
    async refresh(): Promise<void> {
      const listed = await effects.runningDrains();
      for (const drainId of listed) {
        const instanceId = instanceOfDrain(drainId);
        if (instanceId !== undefined && !known.has(instanceId)) known.set(instanceId, { drainId, asksFirst: false, starting: false });
      }
      for (const [instanceId, drain] of [...known]) {
        if (drain.starting || (await effects.isRunning(drain.drainId))) continue;
        if (known.get(instanceId) === drain) known.delete(instanceId);
      }
    },

    find: (instanceId: string): string | undefined => known.get(instanceId)?.drainId,

    /** The approval that the drain waits for; empty: none. @throws SwitchyardError `workflows_unavailable` */
    async approvalOf(drainId: string): Promise<string> {
      return (await effects.isRunning(approvalIdOf(drainId))) ? approvalIdOf(drainId) : '';
    },

    /** Instances that will not serve for long, whatever the view says. */
    leaving: (): string[] => [...known].flatMap(([instanceId, { asksFirst }]) => (asksFirst ? [] : [instanceId])),

    /** Known from the call on. A start without an answer may have happened: the next `refresh` tells. @throws SwitchyardError */
    async begin(plan: DrainPlan): Promise<void> {
      const drain: Drain = { drainId: plan.drainId, asksFirst: plan.approval !== null, starting: true };
      known.set(plan.instanceId, drain);
      try {
        await effects.startDrain(plan);
      } finally {
        drain.starting = false;
      }
    },
  };
}
