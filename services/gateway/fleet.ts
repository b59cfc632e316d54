// What the gateway knows of the fleet: which instances are dead, what an instance can restore, whether any is healthy.
import { watchFleet } from '../../lib/fleet/watch-fleet.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { FleetView } from '../../proto/gen/messages.ts';

export interface Fleet {
  /** What the instance declares; nothing for an unknown one. */
  capabilities(instanceId: string): readonly string[];
  /** Whether some instance may take requests; false before the first view. */
  anyHealthy(): boolean;
  stop(): Promise<void>;
}

/** `dead` is called with the dead instances of every new view that has some. */
export function createFleet(ports: Ports, dead: (instanceIds: ReadonlySet<string>) => void): Fleet {
  let capabilities = new Map<string, readonly string[]>();
  let anyHealthy = false;

  function changed(view: FleetView): void {
    const deadOnes = new Set<string>();
    capabilities = new Map();
    anyHealthy = false;
    for (const { status, health, cordoned } of view.instances) {
      if (!status) continue;
      capabilities.set(status.instanceId, status.capabilities);
      if (health === 'healthy' && !cordoned) anyHealthy = true;
      if (health === 'dead') deadOnes.add(status.instanceId);
    }
    if (deadOnes.size > 0) dead(deadOnes);
  }

  const watch = watchFleet({ bus: ports.bus, clock: ports.clock, telemetry: ports.telemetry, changed });
  return {
    capabilities: (instanceId) => capabilities.get(instanceId) ?? [],
    anyHealthy: () => anyHealthy,
    stop: () => watch.stop(),
  };
}
