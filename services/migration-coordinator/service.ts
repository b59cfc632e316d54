// The migration coordinator: one replica holds the lease, plans from the fleet view, starts workflows and follows them.
import type { PlanningView } from '../../core/migration/planning.ts';
import { planRebalance } from '../../core/migration/rebalance.ts';
import { projectView } from '../../core/tracking/fleet-view.ts';
import { keepOwning, leaseOwner } from '../../lib/actor/ownership.ts';
import * as contracts from '../../lib/contracts.ts';
import { watchFleet } from '../../lib/fleet/watch-fleet.ts';
import type { Subscription } from '../../lib/ports/bus.ts';
import { every } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Lease } from '../../lib/ports/store.ts';
import type { Running, Service } from '../../lib/run/service.ts';
import { createCommands } from './commands.ts';
import { type MigrationCoordinatorConfig, migrationCoordinatorSchema } from './config.ts';
import { coordinatorName, createEffects } from './effects.ts';
import { createMigrations, type MigrationsSettings } from './migrations.ts';

/** What running migrations go by. */
function settingsOf(config: MigrationCoordinatorConfig): MigrationsSettings {
  return { execution: config, pace: { maxDelayMs: config.maxDelayMs, halfLifeMs: config.delayHalfLifeMs }, checkAfterMs: config.checkAfterMs };
}

async function start(config: MigrationCoordinatorConfig, ports: Ports): Promise<Running<MigrationCoordinatorConfig>> {
  const { clock, bus, store, telemetry, identity } = ports;
  const { log } = telemetry;
  const effects = createEffects(ports);
  const fleet = watchFleet(ports);
  const lease = (): Lease | undefined => ownership?.lease();
  const migrations = createMigrations({
    ports,
    effects,
    settings: settingsOf(config),
    lease,
  });
  const commands = createCommands({
    config: () => config,
    ports,
    effects,
    migrations,
    lease,
    view: planningView,
    newerView: (withinMs) => fleet.newer(withinMs),
  });
  let services: Subscription[] = [];
  let lastAdvice = '';

  function planningView(): PlanningView | undefined {
    const view = fleet.view();
    if (!view || fleet.ageMs() > config.maxViewAgeMs) return undefined;
    const nowMs = clock.now();
    return {
      nowMs,
      instances: projectView(view, nowMs),
      active: migrations.moves(),
      settling: migrations.settling(),
      movedAtMs: migrations.movedAtMs,
    };
  }

  /** One round of rebalancing. */
  function rebalance(): void {
    const held = lease();
    if (config.mode === 'off' || !held || !migrations.recovered()) return;
    const view = planningView();
    if (!view) return;
    const moves = planRebalance(view, config);
    if (moves.length === 0) return;
    if (config.mode === 'advisory') {
      const advice = moves
        .map((move) => `${move.sequence.requestId}: ${move.sourceInstanceId} to ${move.targetInstanceId} (${move.reason})`)
        .join(', ');
      if (advice !== lastAdvice) log.info('rebalancing would move', { moves: advice });
      lastAdvice = advice;
      return;
    }
    const cause = migrations.holdCause();
    if (cause) {
      for (const move of moves) migrations.heldBack(move.pool, cause);
      return;
    }
    migrations.launch(moves, held, identity.id).catch((thrown) => log.error('moves not launched', { error: String(thrown) }));
  }

  function begin(gained: Lease): void {
    services = [
      bus.serve(contracts.moveRequest, [], commands.move),
      bus.serve(contracts.drainInstance, [], commands.drain),
      bus.serve(contracts.undrainInstance, [], commands.undrain),
      bus.serve(contracts.listMigrations, [], commands.list),
    ];
    void migrations.recover(gained);
  }

  function end(): void {
    for (const service of services) void service.stop();
    services = [];
    migrations.clear();
  }

  const listening = bus.subscribe(contracts.migrationEnded, [], ({ meta: _, ...ended }) => migrations.ended(ended));
  let cancelRounds = every(clock, config.periodMs, rebalance);
  const ownership = keepOwning({
    name: coordinatorName,
    owner: leaseOwner(ports),
    ttlMs: config.leaseMs,
    clock,
    store,
    telemetry,
    gained: begin,
    lost: end,
  });

  return {
    ready() {
      if (!bus.connected()) return 'the bus is away';
      return lease() && !migrations.recovered() ? 'waits for Temporal to say which migrations run' : true;
    },
    owns: () => {
      const held = lease();
      return held ? [`${coordinatorName}@${held.epoch}`] : [];
    },
    reconfigure(changed) {
      config = changed;
      migrations.reconfigure(settingsOf(changed));
      cancelRounds();
      cancelRounds = every(clock, changed.periodMs, rebalance);
    },
    async drain() {
      cancelRounds();
      await Promise.all([...services, listening].map((service) => service.stop()));
      await migrations.save();
      await ownership.stop();
      await fleet.stop();
    },
  };
}

export const migrationCoordinator: Service<MigrationCoordinatorConfig> = { name: 'migration-coordinator', schema: migrationCoordinatorSchema, start };
