// The migrations that run: launches plans, follows them to their end, keeps the snapshot, and takes over what a
// predecessor left. A plan is saved under our epoch before its workflow starts: whoever coordinates next knows of it.

import { isTooSlow, type Pace, type PaceLimits, sawDelay, startPace } from '../../core/migration/pace.ts';
import { type ActiveMove, type ExecutionSettings, type Move, settlingMs, toPlan } from '../../core/migration/planning.ts';
import { hostActors } from '../../lib/actor/host.ts';
import { sleep } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Lease } from '../../lib/ports/store.ts';
import { type MigrationEnded, MigrationPlan, type MigrationsReply } from '../../proto/gen/messages.ts';
import { type MigrationEffect, type MigrationMessage, migrationActor } from './actor.ts';
import type { Effects } from './effects.ts';
import { migrationIdOf, parseMigrationId } from './ids.ts';
import { createJournal } from './journal.ts';

export interface Launched {
  readonly plan: MigrationPlan;
  /** `uncertain`: Temporal did not answer; the workflow may run, and is looked up. */
  readonly result: 'started' | 'uncertain' | 'not_saved';
}

export interface MigrationsSettings {
  readonly execution: ExecutionSettings;
  readonly pace: PaceLimits;
  readonly checkAfterMs: number;
}

export interface MigrationsOptions {
  readonly ports: Ports;
  readonly effects: Effects;
  readonly settings: MigrationsSettings;
  readonly lease: () => Lease | undefined;
}

const retryMs = 1_000;
const saveAfterMs = 200;

export type Migrations = ReturnType<typeof createMigrations>;

export function createMigrations(options: MigrationsOptions) {
  const { ports, effects } = options;
  const { clock, telemetry, workflows } = ports;
  const { log } = telemetry;
  let { settings } = options;
  const host = hostActors({ actor: migrationActor(settings), clock, telemetry, perform });
  const journal = createJournal();
  /** Launches that wait to hear whether their workflow started. */
  const waiting = new Map<string, (result: Launched['result']) => void>();
  /** Committed within the last `settlingMs`: as many as commit in that time. */
  let settling: { readonly move: ActiveMove; readonly untilMs: number }[] = [];
  let pace: Pace = startPace(clock.now());
  let recovered = false;
  let saveScheduled = false;
  let lastSave: Promise<boolean> = Promise.resolve(true);
  let nextSave: Promise<boolean> | undefined;

  function tell(migrationId: string, message: MigrationMessage): void {
    if (host.state(migrationId)) host.tell(migrationId, message);
  }

  function perform(migrationId: string, effect: MigrationEffect): void {
    switch (effect.type) {
      case 'start_workflow':
        void startWorkflow(effect.plan, effect.traceparent);
        return;
      case 'look_up':
        void effects.lookUp(effect.plan).then((found) => {
          if (found.found === 'ended') tell(migrationId, { type: 'ended', ended: found.ended });
          else tell(migrationId, { type: 'looked_up', found: found.found });
        });
        return;
      case 'saw_delay':
        pace = sawDelay(pace, effect.delayMs, clock.now(), settings.pace);
        return;
      case 'finish':
        finish(effect.plan, effect.ended);
        return;
      case 'never_started':
        heldBack(effect.plan.pool, waiting.has(migrationId) ? 'not_saved' : 'workflows_unavailable');
        settle(migrationId, 'not_saved');
        effects.closeSpan(effect.plan, undefined);
        remove(migrationId);
        return;
    }
  }

  async function startWorkflow(plan: MigrationPlan, traceparent: string): Promise<void> {
    const askedAtMs = clock.now();
    try {
      await effects.startMigration(plan, traceparent);
      pace = sawDelay(pace, clock.now() - askedAtMs, clock.now(), settings.pace);
      tell(plan.migrationId, { type: 'started' });
      settle(plan.migrationId, 'started');
    } catch (thrown) {
      telemetry.within(traceparent === '' ? undefined : { traceparent }, () =>
        log.warn('migration not started', { migration: plan.migrationId, request: plan.requestId, error: String(thrown) }),
      );
      tell(plan.migrationId, { type: 'start_failed' });
      settle(plan.migrationId, 'uncertain');
    }
  }

  function finish(plan: MigrationPlan, ended: MigrationEnded): void {
    journal.ended(ended);
    if (ended.outcome === 'committed') settling = [...stillSettling(), { move: plan, untilMs: clock.now() + settlingMs }];
    effects.countEnd(ended);
    effects.closeSpan(plan, ended);
    settle(plan.migrationId, 'started');
    remove(plan.migrationId);
  }

  function stillSettling() {
    return settling.filter(({ untilMs }) => untilMs > clock.now());
  }

  function remove(migrationId: string): void {
    host.stop(migrationId);
    effects.showActive(active());
    saveSoon();
  }

  function settle(migrationId: string, result: Launched['result']): void {
    waiting.get(migrationId)?.(result);
    waiting.delete(migrationId);
  }

  function heldBack(pool: string, cause: Parameters<Effects['countHeldBack']>[1]): void {
    journal.heldBack(1);
    effects.countHeldBack(pool, cause);
  }

  function active(): MigrationPlan[] {
    return host
      .keys()
      .flatMap((key) => host.state(key)?.plan ?? [])
      .sort((a, b) => a.plannedAtMs - b.plannedAtMs || (a.migrationId < b.migrationId ? -1 : 1));
  }

  function listing(): Omit<MigrationsReply, 'meta'> {
    return journal.listing(active(), options.lease()?.epoch ?? 0);
  }

  async function write(): Promise<boolean> {
    if (!options.lease()) return false;
    return await effects.save(listing()).catch((thrown) => {
      log.warn('coordinator snapshot not saved', { error: String(thrown) });
      return false;
    });
  }

  /** Saves what is true when the write begins; callers that come while one waits share it. */
  function save(): Promise<boolean> {
    nextSave ??= lastSave.then(() => {
      nextSave = undefined;
      lastSave = write();
      return lastSave;
    });
    return nextSave;
  }

  function saveSoon(): void {
    if (saveScheduled) return;
    saveScheduled = true;
    clock.after(saveAfterMs, () => {
      saveScheduled = false;
      void save();
    });
  }

  /** Saves and starts; resolves when each is known to run or not. The moves count as active from the call on. */
  async function launch(moves: readonly Move[], lease: Lease, requestedBy: string): Promise<Launched[]> {
    const nowMs = clock.now();
    const launched = moves.map((move) => {
      const migrationId = migrationIdOf(move.sequence.requestId, move.sequence.epoch + 1, nowMs);
      const plan = toPlan(move, settings.execution, { migrationId, coordinatorEpoch: lease.epoch, nowMs, requestedBy });
      host.tell(migrationId, { type: 'planned', plan, traceparent: move.sequence.traceparent });
      const result = new Promise<Launched['result']>((resolve) => waiting.set(migrationId, resolve));
      return { plan, result };
    });
    effects.showActive(active());
    const saved = await save();
    const ours = saved && options.lease()?.epoch === lease.epoch;
    for (const { plan } of launched) tell(plan.migrationId, { type: ours ? 'go' : 'withdraw' });
    return await Promise.all(launched.map(async ({ plan, result }) => ({ plan, result: await result })));
  }

  /** Takes over from the snapshot and from Temporal; tries until both have answered or the lease is gone. */
  async function recover(lease: Lease): Promise<void> {
    clear();
    while (options.lease()?.epoch === lease.epoch) {
      try {
        const saved = await effects.load();
        const running = await effects.runningMigrations();
        if (options.lease()?.epoch !== lease.epoch) return;
        const plans = new Map((saved ? journal.restore(saved) : []).map((plan) => [plan.migrationId, plan]));
        for (const id of running) if (!plans.has(id)) plans.set(id, unknownPlan(id));
        for (const plan of plans.values()) host.tell(plan.migrationId, { type: 'recovered', plan });
        recovered = true;
        effects.showActive(active());
        if (plans.size > 0) log.info('migrations taken over', { migrations: plans.size, epoch: lease.epoch });
        return;
      } catch (thrown) {
        log.warn('migrations not taken over yet', { error: String(thrown) });
        await sleep(clock, retryMs);
      }
    }
  }

  /** Forgets everything: somebody else coordinates. */
  function clear(): void {
    recovered = false;
    for (const plan of active()) {
      settle(plan.migrationId, 'uncertain');
      effects.closeSpan(plan, undefined);
    }
    host.stopAll();
    effects.showActive([]);
  }

  return {
    active,
    listing,
    launch,
    recover,
    clear,
    save,
    recovered: () => recovered,
    movedAtMs: journal.movedAtMs,
    moves: (): ActiveMove[] => active(),
    settling: (): ActiveMove[] => stillSettling().map(({ move }) => move),
    find: (requestId: string) => active().find((plan) => plan.requestId === requestId),
    ended: (ended: MigrationEnded) => tell(ended.migrationId, { type: 'ended', ended }),
    heldBack,
    reconfigure(changed: MigrationsSettings): void {
      settings = changed;
      host.become(migrationActor(changed));
    },
    /** Why rebalancing should start nothing now; undefined: go on. */
    holdCause(): 'slow' | 'workflows_unavailable' | undefined {
      if (!workflows.connected()) return 'workflows_unavailable';
      return isTooSlow(pace, clock.now(), settings.pace) ? 'slow' : undefined;
    },
  };
}

/** A migration that runs and is in no snapshot: enough is known not to move its request again meanwhile. */
function unknownPlan(migrationId: string): MigrationPlan {
  const known = parseMigrationId(migrationId);
  const toEpoch = Math.max(1, known?.toEpoch ?? 1);
  const nothing = MigrationPlan.decode(new Uint8Array());
  return { ...nothing, migrationId, requestId: known?.requestId ?? migrationId, toEpoch, fromEpoch: toEpoch - 1, reason: 'operator', mode: 'copy' };
}
