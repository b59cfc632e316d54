// What the gateway knows of the fleet: which instances are dead, what an instance can restore, whether any takes requests.
import type { FleetChange } from '../../core/tracking/fleet-replica.ts';
import { takesRequests, whyNobody } from '../../core/tracking/serving.ts';
import { watchFleet } from '../../lib/fleet/watch-fleet.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { InstanceView } from '../../proto/gen/messages.ts';

export interface Fleet {
  /** What the instance declares; nothing for an unknown one. */
  capabilities(instanceId: string): readonly string[];
  /** Whether some instance may take requests, or why none does. */
  serves(): true | string;
  /** Instances whose agents cannot be reached from here, but for the tracker's word still live. At most `avoidedAtMost`. */
  unreachable(): readonly string[];
  /** Whether the agent at this address can be reached from here. */
  reached(address: string, reached: boolean): void;
  stop(): Promise<void>;
}

export interface FleetOptions {
  /** The dead instances of every new view that has some. */
  readonly dead: (instanceIds: ReadonlySet<string>) => void;
  /** Addresses of the agents of live instances, when they have changed, with the instances that are there. */
  readonly addresses: (addresses: ReadonlyMap<string, readonly string[]>) => void;
}

/** More than these are a matter of the tracker, which will hear nothing of them either. */
const avoidedAtMost = 16;

export function createFleet(ports: Ports, options: FleetOptions): Fleet {
  /** Each as large as there are instances. */
  const instances = new Map<string, InstanceView>();
  const taking = new Set<string>();
  const deadOnes = new Set<string>();
  /** Live instances by the address of their agent. */
  const homes = new Map<string, Set<string>>();
  const unreachable = new Set<string>();
  let away: readonly string[] = [];

  function mark(set: Set<string>, instanceId: string, belongs: boolean): void {
    if (belongs) set.add(instanceId);
    else set.delete(instanceId);
  }

  /** Returns whether the addresses have changed. */
  function live(instanceId: string, address: string | undefined): boolean {
    const before = instances.get(instanceId)?.status?.address;
    if (before !== undefined && before !== address) {
      homes.get(before)?.delete(instanceId);
      if (homes.get(before)?.size === 0) homes.delete(before);
    }
    if (address === undefined || homes.get(address)?.has(instanceId)) return before !== address;
    homes.set(address, (homes.get(address) ?? new Set()).add(instanceId));
    return true;
  }

  function changed(change: FleetChange): void {
    let moved = false;
    for (const instance of change.changed) {
      const { status, health } = instance;
      if (!status) continue;
      moved = live(status.instanceId, health === 'dead' ? undefined : status.address) || moved;
      instances.set(status.instanceId, instance);
      mark(taking, status.instanceId, takesRequests(instance));
      mark(deadOnes, status.instanceId, health === 'dead');
    }
    for (const instanceId of change.removed) {
      moved = live(instanceId, undefined) || moved;
      instances.delete(instanceId);
      taking.delete(instanceId);
      deadOnes.delete(instanceId);
    }
    if (deadOnes.size > 0) options.dead(deadOnes);
    if (!moved) return;
    for (const address of unreachable) if (!homes.has(address)) unreachable.delete(address);
    lookAway();
    options.addresses(new Map(Array.from(homes, ([address, there]) => [address, [...there]])));
  }

  function lookAway(): void {
    away = [...unreachable].flatMap((address) => [...(homes.get(address) ?? [])]).slice(0, avoidedAtMost);
  }

  function isReachable(instanceId: string): boolean {
    return !unreachable.has(instances.get(instanceId)?.status?.address ?? '');
  }

  const watch = watchFleet({ ...ports, changed });
  return {
    capabilities: (instanceId) => instances.get(instanceId)?.status?.capabilities ?? [],
    serves() {
      for (const instanceId of taking) if (unreachable.size === 0 || isReachable(instanceId)) return true;
      return whyNobody(instances.values(), new Set([...instances.keys()].filter((instanceId) => !isReachable(instanceId))));
    },
    unreachable: () => away,
    reached(address, reached) {
      if (homes.has(address)) mark(unreachable, address, !reached);
      lookAway();
    },
    stop: () => watch.stop(),
  };
}
