// The bus's twin: a network inside one process that any number of "processes" connect to.
import type { Bus } from '../ports/bus.ts';
import type { Clock } from '../ports/clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { createMemoryWires } from './memory-wire.ts';
import { createWireBus } from './wire-bus.ts';

export interface MemoryBusNetwork {
  connect(identity: string, telemetry: Telemetry): Bus;
  /** For tests: cuts `identity` off, or connects it again. Its subscriptions stay. */
  setConnected(identity: string, connected: boolean): void;
}

export function createMemoryBusNetwork(clock: Clock): MemoryBusNetwork {
  const wires = createMemoryWires(clock);
  let ids = 0;
  return {
    connect(identity, telemetry) {
      return createWireBus({ wire: wires.connect(identity), identity, clock, telemetry, newId: () => `m-${identity}-${ids++}` });
    },
    setConnected: wires.setConnected,
  };
}
