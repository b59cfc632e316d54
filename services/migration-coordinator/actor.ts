// One actor per migration, from the plan to its known end: planned -> starting -> started -> ended.
// The workflow does the work; the actor makes sure that it was started once and that its end becomes known, whether or
// not the message about it arrives.
import { type Actor, assert, type Wake } from '../../lib/actor/actor.ts';
import type { MigrationEnded, MigrationPlan } from '../../proto/gen/messages.ts';

export interface MigrationState {
  readonly migrationId: string;
  readonly plan: MigrationPlan | undefined;
  /** Of the request; empty when it is not traced. */
  readonly traceparent: string;
  readonly phase: 'new' | 'planned' | 'starting' | 'started' | 'ended';
  /** When the workflow was asked for. */
  readonly askedAtMs: number;
  readonly lookUpAtMs: number | undefined;
}

export type MigrationMessage =
  | { readonly type: 'planned'; readonly plan: MigrationPlan; readonly traceparent: string }
  /** The plan is saved under our epoch: it may run. */
  | { readonly type: 'go' }
  /** The plan could not be saved: somebody else coordinates now, or the store is away. */
  | { readonly type: 'withdraw' }
  /** Found in the snapshot or in Temporal by a new owner, who knows not how far it is. */
  | { readonly type: 'recovered'; readonly plan: MigrationPlan }
  | { readonly type: 'started' }
  /** The answer to the start was a failure: it may run nevertheless. */
  | { readonly type: 'start_failed' }
  | { readonly type: 'ended'; readonly ended: MigrationEnded }
  | { readonly type: 'looked_up'; readonly found: 'running' | 'nothing' | 'unknown' };

export type MigrationEffect =
  | { readonly type: 'start_workflow'; readonly plan: MigrationPlan; readonly traceparent: string }
  | { readonly type: 'look_up'; readonly plan: MigrationPlan }
  /** Temporal has not begun with it after this long, ms. */
  | { readonly type: 'saw_delay'; readonly delayMs: number }
  | { readonly type: 'finish'; readonly plan: MigrationPlan; readonly ended: MigrationEnded }
  | { readonly type: 'never_started'; readonly plan: MigrationPlan };

type Step = readonly [MigrationState, readonly MigrationEffect[]];

export function migrationActor(limits: { readonly checkAfterMs: number }): Actor<MigrationState, MigrationMessage, MigrationEffect> {
  return {
    kind: 'migration',
    start: (migrationId, nowMs) => ({ migrationId, plan: undefined, traceparent: '', phase: 'new', askedAtMs: nowMs, lookUpAtMs: undefined }),

    step(state, message, nowMs): Step {
      if (message.type === 'planned') {
        if (state.phase !== 'new') return [state, []];
        return [{ ...state, plan: message.plan, traceparent: message.traceparent, phase: 'planned' }, []];
      }
      if (message.type === 'recovered') {
        if (state.phase !== 'new') return [state, []];
        return [{ ...state, plan: message.plan, phase: 'started', lookUpAtMs: nowMs }, []];
      }
      const { plan } = state;
      if (!plan || state.phase === 'ended') return [state, []];
      return next(state, plan, message, nowMs);
    },

    wakeAt: (state) => (state.phase === 'ended' ? undefined : state.lookUpAtMs),

    assertValid(state) {
      assert(state.phase === 'new' || state.plan !== undefined, 'a migration without a plan');
      assert(!state.plan || state.plan.migrationId === state.migrationId, 'the plan of another migration');
      assert(!state.plan || state.plan.toEpoch === state.plan.fromEpoch + 1, 'an epoch that does not follow');
    },
  };

  function next(state: MigrationState, plan: MigrationPlan, message: MigrationMessage | Wake, nowMs: number): Step {
    switch (message.type) {
      case 'go':
        if (state.phase !== 'planned') return [state, []];
        return [{ ...state, phase: 'starting', askedAtMs: nowMs }, [{ type: 'start_workflow', plan, traceparent: state.traceparent }]];
      case 'withdraw':
        if (state.phase !== 'planned') return [state, []];
        return [over(state), [{ type: 'never_started', plan }]];
      case 'started':
        return [{ ...state, phase: 'started', lookUpAtMs: nowMs + plan.expectedMs + limits.checkAfterMs }, []];
      case 'start_failed':
        return [{ ...state, lookUpAtMs: nowMs + limits.checkAfterMs }, []];
      case 'ended': {
        const delayMs = Math.max(0, nowMs - state.askedAtMs - message.ended.totalMs);
        return [
          over(state),
          [
            { type: 'saw_delay', delayMs },
            { type: 'finish', plan, ended: message.ended },
          ],
        ];
      }
      case 'wake':
        return [{ ...state, lookUpAtMs: nowMs + limits.checkAfterMs }, [{ type: 'look_up', plan }]];
      case 'looked_up':
        if (message.found === 'unknown') return [state, []];
        if (message.found === 'nothing') return [over(state), [{ type: 'never_started', plan }]];
        return [{ ...state, phase: 'started' }, [{ type: 'saw_delay', delayMs: Math.max(0, nowMs - state.askedAtMs - plan.expectedMs) }]];
      default:
        return [state, []];
    }
  }
}

function over(state: MigrationState): MigrationState {
  return { ...state, phase: 'ended', lookUpAtMs: undefined };
}
