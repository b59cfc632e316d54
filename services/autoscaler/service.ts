// The autoscaler: for each pool of the fleet file one replica holds the lease and decides the size.
import { type Code, codes } from '../../core/errors/codes.ts';
import { refusal } from '../../core/errors/switchyard-error.ts';
import { freenessBand } from '../../core/scaling/freeness-band.ts';
import type { ScalingPolicy } from '../../core/scaling/policy.ts';
import { projectView } from '../../core/tracking/fleet-view.ts';
import { hostActors } from '../../lib/actor/host.ts';
import { keepOwning, leaseOwner, type Ownership } from '../../lib/actor/ownership.ts';
import { leastInstances } from '../../lib/config/instance-role.ts';
import * as contracts from '../../lib/contracts.ts';
import { watchFleet } from '../../lib/fleet/watch-fleet.ts';
import type { Subscription } from '../../lib/ports/bus.ts';
import { every, sleep } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Lease } from '../../lib/ports/store.ts';
import type { Running, Service } from '../../lib/run/service.ts';
import type { Refusal, ScalePlan } from '../../proto/gen/messages.ts';
import { type PoolEffect, type PoolSettings, type PoolState, poolActor } from './actor.ts';
import { createCommands } from './commands.ts';
import { type AutoscalerConfig, autoscalerSchema } from './config.ts';
import { createEffects, leaseName } from './effects.ts';

const retryMs = 500;

function settingsOf(config: AutoscalerConfig): PoolSettings {
  return {
    ...config,
    policy: freenessBand(config) as ScalingPolicy<unknown>,
    guard: config,
    bounds(pool) {
      const found = config.fleet.pools.find((each) => each.id === pool)!;
      const { min, max, floor } = found;
      return { min: Math.max(min, leastInstances(found)), max, floor };
    },
  };
}

async function start(config: AutoscalerConfig, ports: Ports): Promise<Running<AutoscalerConfig>> {
  const { clock, bus, store, telemetry } = ports;
  const { log } = telemetry;
  const effects = createEffects(ports);
  let settings = settingsOf(config);
  const host = hostActors({ actor: poolActor(settings), clock, telemetry, perform });
  const fleet = watchFleet(ports);
  const owner = leaseOwner(ports);
  const ownerships = new Map<string, Ownership>();
  const services = new Map<string, Subscription[]>();
  /** Manual commands that wait to hear whether their workflow started. */
  const waiting = new Map<string, (refused: Refusal | undefined) => void>();
  /** Plans whose workflow Temporal has been asked for and has not answered: one per pool at most. */
  const starting = new Set<string>();
  const commands = createCommands({
    config: () => config,
    settings: () => settings,
    effects,
    nowMs: () => clock.now(),
    owned,
    launch: launchManually,
    setMode,
  });

  function perform(pool: string, effect: PoolEffect): void {
    switch (effect.type) {
      case 'launch':
        void launch(pool, effect.plan);
        return;
      case 'look_up':
        void lookUp(pool, effect.plan);
        return;
      case 'record':
        effects.record(effect.decided, host.state(pool)?.epoch ?? 0);
        return;
      case 'measure':
        effects.measure(pool, effect.desired, effect.current);
        return;
      case 'ended':
        log.info('change of size ended', { plan: effect.plan.scaleId, outcome: effect.ended.outcome, code: effect.ended.code });
        return;
      case 'save':
        void save(pool);
        return;
    }
  }

  function instancesOf(pool: string) {
    const view = fleet.view();
    return view ? projectView(view, clock.now()).filter((instance) => instance.status.pool === pool) : [];
  }

  /** The state of an owned pool, with the newest view in it. */
  function owned(pool: string): PoolState | undefined {
    const state = host.state(pool);
    return state && state.epoch > 0 ? { ...state, instances: instancesOf(pool), viewAgeMs: fleet.ageMs() } : undefined;
  }

  async function save(pool: string): Promise<boolean> {
    const state = host.state(pool);
    if (!state || state.epoch === 0) return false;
    return await effects.save(state).catch((thrown) => {
      log.warn('scaler snapshot not saved', { pool, error: String(thrown) });
      return false;
    });
  }

  /** The plan is saved under our epoch before its workflow starts: whoever owns the pool next knows of it. */
  async function launch(pool: string, plan: ScalePlan): Promise<void> {
    if (!(await save(pool))) {
      host.tell(pool, { type: 'withdrawn', scaleId: plan.scaleId });
      settle(plan.scaleId, 'store_unavailable', 'the plan could not be saved; ask again');
      return;
    }
    starting.add(plan.scaleId);
    try {
      await effects.startScaling(plan);
      log.info('change of size started', { plan: plan.scaleId, from: plan.from, to: plan.to, approval: plan.needsApproval });
      settle(plan.scaleId);
    } catch (thrown) {
      // It may have been started nevertheless: the plan stays until a look at the workflow has told.
      log.warn('change of size not started', { plan: plan.scaleId, error: String(thrown) });
      settle(plan.scaleId, 'workflows_unavailable', 'Temporal did not answer; the change may run nevertheless, see "switchyard status"');
    } finally {
      starting.delete(plan.scaleId);
    }
  }

  function settle(scaleId: string, code?: Code, message = ''): void {
    waiting.get(scaleId)?.(code && refusal(code, message, codes[code].retryable ? 2_000 : 0));
    waiting.delete(scaleId);
  }

  function launchManually(plan: ScalePlan): Promise<Refusal | undefined> {
    const result = new Promise<Refusal | undefined>((resolve) => waiting.set(plan.scaleId, resolve));
    host.tell(plan.pool, { type: 'command', plan });
    // The actor takes one plan at a time; it may have made its own a moment ago.
    if (host.state(plan.pool)?.plan?.scaleId !== plan.scaleId)
      settle(plan.scaleId, 'scaling_in_progress', `pool ${plan.pool} has just begun to change its size`);
    return result;
  }

  async function lookUp(pool: string, plan: ScalePlan): Promise<void> {
    // What is being started may be there a moment later.
    if (starting.has(plan.scaleId)) return;
    const found = await effects.lookUp(plan);
    if (!host.state(pool)) return;
    if (found.found === 'ended') host.tell(pool, { type: 'ended', ended: found.ended });
    else if (found.found === 'nothing') host.tell(pool, { type: 'withdrawn', scaleId: plan.scaleId });
  }

  function setMode(pool: string, mode: PoolState['mode']): void {
    host.tell(pool, { type: 'mode', mode });
  }

  async function begin(pool: string, lease: Lease): Promise<void> {
    const stillOurs = () => ownerships.get(pool)?.lease()?.epoch === lease.epoch;
    while (stillOurs()) {
      try {
        const { saved, mode } = await effects.load(pool);
        if (!stillOurs()) return;
        host.tell(pool, { type: 'owned', epoch: lease.epoch, mode: mode ?? config.mode, saved });
        services.set(pool, [bus.serve(contracts.scalePool, [pool], commands.scale), bus.serve(contracts.setScalingMode, [pool], commands.setMode)]);
        return;
      } catch (thrown) {
        log.warn('scaler not taken over yet', { pool, error: String(thrown) });
        await sleep(clock, retryMs);
      }
    }
  }

  function end(pool: string): void {
    for (const service of services.get(pool) ?? []) void service.stop();
    services.delete(pool);
    host.stop(pool);
    effects.measure(pool, 0, 0);
  }

  const shared = [
    bus.subscribe(contracts.scalingEnded, [], ({ meta: _, ...ended }) => {
      if (host.state(ended.pool)) host.tell(ended.pool, { type: 'ended', ended });
    }),
    bus.subscribe(contracts.migrationEnded, [], (ended) => {
      if (host.state(ended.pool)) host.tell(ended.pool, { type: 'migration_ended' });
    }),
    bus.subscribe(contracts.queueStatus, ['*'], (status, { keys }) => {
      if (host.state(keys[0] ?? '')) host.tell(keys[0]!, { type: 'queue', status });
    }),
    bus.serve(contracts.listPools, [], () => ({
      pools: host
        .keys()
        .sort()
        .flatMap((pool) => owned(pool) ?? [])
        .map(commands.statusOf),
    })),
  ];
  function tick(): void {
    for (const pool of host.keys()) host.tell(pool, { type: 'tick', instances: instancesOf(pool), viewAgeMs: fleet.ageMs() });
  }

  /** Tries to own each pool of the fleet file; gives up those that have left it. */
  function follow(pools: readonly string[]): void {
    for (const [pool, ownership] of ownerships) {
      if (pools.includes(pool)) continue;
      ownerships.delete(pool);
      end(pool);
      void ownership.stop();
    }
    for (const pool of pools) {
      if (ownerships.has(pool)) continue;
      const gained = (lease: Lease) => void begin(pool, lease);
      ownerships.set(
        pool,
        keepOwning({ name: leaseName(pool), owner, ttlMs: config.leaseMs, clock, store, telemetry, gained, lost: () => end(pool) }),
      );
    }
  }

  const poolsOf = ({ fleet: { pools } }: AutoscalerConfig) => pools.map((pool) => pool.id);
  let cancelTicks = every(clock, config.tickMs, tick);
  follow(poolsOf(config));

  return {
    ready: () => (bus.connected() ? true : 'the bus is away'),
    owns: () => [...ownerships.values()].flatMap((ownership) => ownership.lease() ?? []).map((lease) => `${lease.name}@${lease.epoch}`),
    reconfigure(changed) {
      config = changed;
      settings = settingsOf(changed);
      follow(poolsOf(changed));
      host.become(poolActor(settings));
      cancelTicks();
      cancelTicks = every(clock, changed.tickMs, tick);
    },
    async drain() {
      cancelTicks();
      await Promise.all([...shared, ...[...services.values()].flat()].map((service) => service.stop()));
      for (const pool of host.keys()) await save(pool);
      await Promise.all([...ownerships.values()].map((ownership) => ownership.stop()));
      await fleet.stop();
    },
  };
}

export const autoscaler: Service<AutoscalerConfig> = { name: 'autoscaler', schema: autoscalerSchema, start };
