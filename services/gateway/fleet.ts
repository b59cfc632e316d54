// What the gateway knows of the fleet: which instances are dead, what an instance can restore, whether any is healthy.
import type { FleetChange } from '../../core/tracking/fleet-replica.ts';
import { watchFleet } from '../../lib/fleet/watch-fleet.ts';
import type { Ports } from '../../lib/ports/ports.ts';

export interface Fleet {
  /** What the instance declares; nothing for an unknown one. */
  capabilities(instanceId: string): readonly string[];
  /** Whether some instance may take requests; false before the first view. */
  anyHealthy(): boolean;
  stop(): Promise<void>;
}

/** `dead` is called with the dead instances of every new view that has some. */
export function createFleet(ports: Ports, dead: (instanceIds: ReadonlySet<string>) => void): Fleet {
  /** As many as there are instances. */
  const capabilities = new Map<string, readonly string[]>();
  const healthy = new Set<string>();
  const deadOnes = new Set<string>();

  function mark(set: Set<string>, instanceId: string, belongs: boolean): void {
    if (belongs) set.add(instanceId);
    else set.delete(instanceId);
  }

  function changed(change: FleetChange): void {
    for (const { status, health, cordoned } of change.changed) {
      if (!status) continue;
      capabilities.set(status.instanceId, status.capabilities);
      mark(healthy, status.instanceId, health === 'healthy' && !cordoned);
      mark(deadOnes, status.instanceId, health === 'dead');
    }
    for (const instanceId of change.removed) {
      capabilities.delete(instanceId);
      healthy.delete(instanceId);
      deadOnes.delete(instanceId);
    }
    if (deadOnes.size > 0) dead(deadOnes);
  }

  const watch = watchFleet({ ...ports, changed });
  return {
    capabilities: (instanceId) => capabilities.get(instanceId) ?? [],
    anyHealthy: () => healthy.size > 0,
    stop: () => watch.stop(),
  };
}
