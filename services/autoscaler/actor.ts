// One actor per owned pool: decides its size at every tick, and knows the one change that runs. Starting workflows,
// saving and telling others are effects.
import { decideSize, type SizeDecision } from '../../core/scaling/decide-size.ts';
import type { GuardLimits } from '../../core/scaling/guard.ts';
import type { ScalingPolicy } from '../../core/scaling/policy.ts';
import type { PoolBounds, PoolView } from '../../core/scaling/pool-view.ts';
import { planScale } from '../../core/scaling/scale-plan.ts';
import type { KnownInstance } from '../../core/tracking/fleet-view.ts';
import { type Actor, assert, type Wake } from '../../lib/actor/actor.ts';
import type { PoolStatus, QueueStatus, ScalePlan, ScalingDecided, ScalingEnded } from '../../proto/gen/messages.ts';
import { demandOf, newerReport, type QueueReport } from './queue-reports.ts';

export type ScalingMode = PoolStatus['mode'];

export interface PoolState {
  readonly pool: string;
  /** Of the lease; 0: not owned, nothing is decided. */
  readonly epoch: number;
  readonly mode: ScalingMode;
  /** Of the policy named so: another one begins anew. */
  readonly memory: unknown;
  readonly policy: string;
  /** The change that runs or waits for people. */
  readonly plan: ScalePlan | undefined;
  readonly lookUpAtMs: number | undefined;
  readonly grewAtMs: number;
  readonly shrankAtMs: number;
  /** When migrations of the pool ended, newest last, at most `keptMigrations`. */
  readonly migrationsEndedAtMs: readonly number[];
  readonly instances: readonly KnownInstance[];
  readonly viewAgeMs: number;
  readonly queue: QueueReport | undefined;
  readonly decision: SizeDecision | undefined;
  readonly decidedAtMs: number;
}

/** What survives in the store. */
export type SavedPool = Pick<PoolState, 'memory' | 'policy' | 'plan' | 'grewAtMs' | 'shrankAtMs'>;

export type PoolMessage =
  | { readonly type: 'owned'; readonly epoch: number; readonly mode: ScalingMode; readonly saved: SavedPool | undefined }
  | { readonly type: 'tick'; readonly instances: readonly KnownInstance[]; readonly viewAgeMs: number }
  | { readonly type: 'queue'; readonly status: QueueStatus }
  | { readonly type: 'mode'; readonly mode: ScalingMode }
  /** Somebody's wish, planned and checked by the service. */
  | { readonly type: 'command'; readonly plan: ScalePlan }
  /** The workflow was not started. */
  | { readonly type: 'withdrawn'; readonly scaleId: string }
  | { readonly type: 'ended'; readonly ended: ScalingEnded }
  | { readonly type: 'migration_ended' };

export type PoolEffect =
  /** Save under our epoch, then start the workflow. */
  | { readonly type: 'launch'; readonly plan: ScalePlan }
  | { readonly type: 'look_up'; readonly plan: ScalePlan }
  | { readonly type: 'record'; readonly decided: Omit<ScalingDecided, 'meta'> }
  | { readonly type: 'measure'; readonly desired: number; readonly current: number }
  | { readonly type: 'ended'; readonly plan: ScalePlan; readonly ended: ScalingEnded }
  | { readonly type: 'save' };

export interface PoolSettings {
  readonly policy: ScalingPolicy<unknown>;
  readonly guard: GuardLimits;
  readonly bounds: (pool: string) => PoolBounds;
  readonly stormMs: number;
  /** Of a report of the queue; an older one says nothing. */
  readonly maxQueueAgeMs: number;
  readonly lookUpMs: number;
  readonly executeWithinMs: number;
  readonly drainWithinMs: number;
  readonly approvalWithinMs: number;
}

const keptMigrations = 1_000;

type Step = readonly [PoolState, readonly PoolEffect[]];

/** The pool as core/scaling sees it. */
export function viewOf(state: PoolState, settings: PoolSettings, nowMs: number): PoolView {
  return {
    pool: state.pool,
    nowMs,
    bounds: settings.bounds(state.pool),
    instances: state.instances,
    queued: demandOf(state.queue, nowMs, settings.maxQueueAgeMs),
    viewAgeMs: state.viewAgeMs,
    pendingInstanceIds: state.plan?.startInstanceIds ?? [],
    planRunning: state.plan !== undefined,
    grewAtMs: state.grewAtMs,
    shrankAtMs: state.shrankAtMs,
    recentMigrations: state.migrationsEndedAtMs.filter((atMs) => nowMs - atMs <= settings.stormMs).length,
  };
}

export function poolActor(settings: PoolSettings): Actor<PoolState, PoolMessage, PoolEffect> {
  function tick(before: PoolState, nowMs: number): Step {
    if (before.epoch === 0) return [before, []];
    const state = before.policy === settings.policy.name ? before : { ...before, ...freshMemory() };
    const view = viewOf(state, settings, nowMs);
    const [memory, decision] = decideSize(settings.policy, settings.guard, view, state.memory);
    const decided: PoolState = { ...state, memory, decision, decidedAtMs: nowMs };
    const effects: PoolEffect[] = [{ type: 'measure', desired: desiredSize(decided), current: decision.current }];
    if (state.mode !== 'off' && isNews(state.decision, decision))
      effects.push({ type: 'record', decided: toDecided(decided, decision, settings.policy.name) });
    if (state.mode !== 'active' || decision.constrained === decision.current) return [decided, effects];
    const plan = planScale(view, decision.constrained, {
      ...settings,
      scaleId: `scale-${state.pool}-${state.epoch}-${Math.floor(nowMs).toString(36)}`,
      epoch: state.epoch,
      requestedBy: `autoscaler (${settings.policy.name})`,
      reasons: decision.reasons.map((reason) => reason.text),
    });
    return [{ ...decided, plan, lookUpAtMs: nowMs + settings.lookUpMs }, [...effects, { type: 'launch', plan }]];
  }

  function step(state: PoolState, message: PoolMessage | Wake, nowMs: number): Step {
    switch (message.type) {
      case 'owned': {
        const { epoch, mode, saved } = message;
        return [{ ...state, ...saved, epoch, mode, lookUpAtMs: saved?.plan ? nowMs : undefined }, []];
      }
      case 'tick':
        return tick({ ...state, instances: message.instances, viewAgeMs: message.viewAgeMs }, nowMs);
      case 'queue':
        return [{ ...state, queue: newerReport(state.queue, message.status, nowMs, settings.maxQueueAgeMs) }, []];
      case 'mode':
        return [{ ...state, mode: message.mode, decision: undefined }, []];
      case 'command':
        if (state.plan) return [state, []];
        return [{ ...state, plan: message.plan, lookUpAtMs: nowMs + settings.lookUpMs }, [{ type: 'launch', plan: message.plan }]];
      case 'withdrawn':
        return state.plan?.scaleId === message.scaleId ? [withoutPlan(state), [{ type: 'save' }]] : [state, []];
      case 'ended': {
        const { plan } = state;
        if (plan?.scaleId !== message.ended.scaleId) return [state, []];
        const grewAtMs = message.ended.started.length > 0 ? nowMs : state.grewAtMs;
        const shrankAtMs = message.ended.stopped.length > 0 ? nowMs : state.shrankAtMs;
        return [{ ...withoutPlan(state), grewAtMs, shrankAtMs }, [{ type: 'ended', plan, ended: message.ended }, { type: 'save' }]];
      }
      case 'migration_ended':
        return [{ ...state, migrationsEndedAtMs: [...state.migrationsEndedAtMs, nowMs].slice(-keptMigrations) }, []];
      case 'wake':
        if (!state.plan) return [{ ...state, lookUpAtMs: undefined }, []];
        return [{ ...state, lookUpAtMs: nowMs + settings.lookUpMs }, [{ type: 'look_up', plan: state.plan }]];
    }
  }

  function freshMemory() {
    return { memory: settings.policy.start(), policy: settings.policy.name };
  }

  return {
    kind: 'pool',
    start: (pool) => ({
      pool,
      epoch: 0,
      mode: 'off',
      ...freshMemory(),
      plan: undefined,
      lookUpAtMs: undefined,
      grewAtMs: 0,
      shrankAtMs: 0,
      migrationsEndedAtMs: [],
      instances: [],
      viewAgeMs: Number.POSITIVE_INFINITY,
      queue: undefined,
      decision: undefined,
      decidedAtMs: 0,
    }),
    step,
    wakeAt: (state) => state.lookUpAtMs,
    assertValid(state) {
      const { plan } = state;
      assert(!plan || plan.pool === state.pool, 'a plan of another pool');
      assert(!plan || plan.startInstanceIds.length === 0 || plan.stopInstanceIds.length === 0, 'a plan that starts and stops');
      assert(!plan || plan.to === plan.from + plan.startInstanceIds.length - plan.stopInstanceIds.length, 'a plan whose numbers do not add up');
    },
  };
}

/** The size that is on its way, or wanted; the current one where nothing is decided. */
export function desiredSize(state: PoolState): number {
  if (state.plan) return state.plan.to;
  return state.decision ? (state.mode === 'off' ? state.decision.current : state.decision.constrained) : 0;
}

function withoutPlan(state: PoolState): PoolState {
  return { ...state, plan: undefined, lookUpAtMs: undefined };
}

/** Something that the record should say: another size, another proposal, another set of reasons. */
function isNews(before: SizeDecision | undefined, now: SizeDecision): boolean {
  const key = (d: SizeDecision) => `${d.current}/${d.proposed}/${d.constrained}/${d.reasons.map((reason) => reason.code).join(',')}`;
  return !before || key(before) !== key(now);
}

function toDecided(state: PoolState, decision: SizeDecision, policy: string): Omit<ScalingDecided, 'meta'> {
  return {
    pool: state.pool,
    current: decision.current,
    pending: state.plan?.startInstanceIds.length ?? 0,
    proposed: decision.proposed,
    constrained: decision.constrained,
    mode: state.mode,
    policy,
    reasons: decision.reasons.map((reason) => `${reason.code}: ${reason.text}`),
    atMs: state.decidedAtMs,
  };
}
