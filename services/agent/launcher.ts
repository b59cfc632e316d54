// Starts and stops engines of this process on command. With several launchers in a fleet each command reaches one of
// them, and a repeated one perhaps another: a lease per instance keeps it from running twice.
import { refusal } from '../../core/errors/switchyard-error.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Subscription } from '../../lib/ports/bus.ts';
import { every } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Lease } from '../../lib/ports/store.ts';
import type { Refusal, StartInstanceCommand, StopInstanceCommand } from '../../proto/gen/messages.ts';
import type { AgentConfig } from './config.ts';
import type { Instances } from './instances.ts';

export interface Launcher {
  leases(): readonly Lease[];
  stop(): Promise<void>;
}

/** Longer ids do not fit into subjects and addresses. */
const longestId = 200;

export function serveLauncher(config: AgentConfig, ports: Ports, instances: Instances): Launcher {
  const { bus, clock, identity, store, telemetry } = ports;
  const leases = new Map<string, Lease>();
  const stopServing = new Map<string, Subscription>();
  /** Newest epoch of each pool's owner. Bounded by the pools of the fleet file. */
  const ownerEpoch = new Map<string, number>();

  function outdated({ pool, epoch }: { pool: string; epoch: number }): Refusal | undefined {
    if (!config.fleet.pools.some(({ id }) => id === pool)) return refusal('unknown_pool', `there is no pool ${pool} in the fleet file`);
    const newest = ownerEpoch.get(pool) ?? 0;
    if (epoch < newest) return refusal('stale_epoch', `pool ${pool} has an owner with epoch ${newest}`);
    ownerEpoch.set(pool, epoch);
    return undefined;
  }

  function unusable(instanceId: string): Refusal | undefined {
    if (instanceId !== '' && instanceId.length <= longestId) return undefined;
    return refusal('invalid_request', `the id of an instance has 1 to ${longestId} characters`);
  }

  async function start(command: StartInstanceCommand): Promise<{ refusal?: Refusal }> {
    const { pool, instanceId } = command;
    const no = outdated(command) ?? unusable(instanceId);
    if (no) return { refusal: no };
    if (instances.get(instanceId)) return {};
    const lease = await store.acquire(`instance/${instanceId}`, identity.id, config.launchLeaseMs);
    // Another launcher runs it: this is its command again.
    if (!lease) return {};
    const refused = instances.start(pool, instanceId);
    if (refused) {
      await store.release(lease);
      return { refusal: refused };
    }
    leases.set(instanceId, lease);
    serveStop(instanceId);
    return {};
  }

  function serveStop(instanceId: string): void {
    if (!stopServing.has(instanceId)) stopServing.set(instanceId, bus.serve(contracts.stopInstance, [instanceId], stop));
  }

  async function stop(command: StopInstanceCommand): Promise<{ refusal?: Refusal }> {
    const no = outdated(command);
    if (no) return { refusal: no };
    await instances.stop(command.instanceId);
    const lease = leases.get(command.instanceId);
    leases.delete(command.instanceId);
    if (lease) await store.release(lease);
    return {};
  }

  // Kept while the instance runs. A lease that is lost changes nothing here: the instance runs and reports.
  const stopRenewing = every(clock, config.launchLeaseMs / 3, () => {
    for (const lease of leases.values()) {
      store
        .renew(lease, config.launchLeaseMs)
        .catch((thrown) => telemetry.log.warn('instance lease not renewed', { lease: lease.name, error: String(thrown) }));
    }
  });
  for (const { instanceId } of instances.all()) serveStop(instanceId);
  const startable = config.launches.includes('*') ? ['*'] : new Set([...instances.all().map(({ instanceId }) => instanceId), ...config.launches]);
  const starting = Array.from(startable, (id) => bus.serve(contracts.startInstance, [id], start, { group: 'launchers' }));

  return {
    leases: () => [...leases.values()],
    async stop() {
      stopRenewing();
      await Promise.all([...starting, ...stopServing.values()].map((subscription) => subscription.stop()));
      await Promise.all([...leases.values()].map((lease) => store.release(lease).catch(() => {})));
    },
  };
}
