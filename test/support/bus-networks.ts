// The networks on which test/conformance runs the bus: the twin, and a NATS server of their own.
import { onTestFinished } from 'vitest';
import { createMemoryBusNetwork } from '../../lib/bus/memory-bus.ts';
import { connectNatsBus } from '../../lib/bus/nats-bus.ts';
import { createNeighbours, type Neighbours } from '../../lib/bus/neighbours.ts';
import { systemClock as clock } from '../../lib/clock/system-clock.ts';
import { setScalingMode } from '../../lib/contracts.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import { systemRng } from '../../lib/rng/system-rng.ts';
import { createMemoryTelemetry, type MemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { startNats, type TestServer } from './servers.ts';

export interface BusNetwork {
  connect(identity: string): Promise<{ bus: Bus; telemetry: MemoryTelemetry }>;
  /** Nobody is connected any more. */
  cut(): Promise<void>;
  mend(): Promise<void>;
  close(): Promise<void>;
  /** The broker process, where there is one. */
  readonly server?: TestServer;
}

async function memoryNetwork(): Promise<BusNetwork> {
  const network = createMemoryBusNetwork(clock);
  const identities = new Set<string>();
  const setAll = async (connected: boolean) => {
    for (const identity of identities) network.setConnected(identity, connected);
  };
  return {
    async connect(identity) {
      identities.add(identity);
      const telemetry = createMemoryTelemetry(clock, { process: identity });
      return { bus: network.connect(identity, telemetry), telemetry };
    },
    cut: () => setAll(false),
    mend: () => setAll(true),
    async close() {},
  };
}

/** `neighbours`: all in one process know of each other. */
async function natsNetwork(neighbours?: Neighbours): Promise<BusNetwork> {
  const server = await startNats();
  return {
    server,
    async connect(identity) {
      const telemetry = createMemoryTelemetry(clock, { process: identity });
      return { bus: await connectNatsBus({ servers: server.address, identity, clock, rng: systemRng, telemetry, neighbours }), telemetry };
    },
    cut: () => server.kill(),
    mend: () => server.restart(),
    close: () => server.stop(),
  };
}

export const busNetworks = [
  ['memory', memoryNetwork],
  ['nats', () => natsNetwork()],
  ['nats, services in one process', () => natsNetwork(createNeighbours())],
] as const;

let names = 0;
/** A key that no other test uses. */
export const fresh = (what: string) => `${what}-${names++}`;

/** Drained when the test ends. */
export async function joinNetwork(network: BusNetwork, identity = fresh('process')) {
  const joined = await network.connect(identity);
  onTestFinished(() => joined.bus.drain());
  return { ...joined, identity };
}

/** Resolves when the server knows everything that `bus` has subscribed to: its own question comes back after it. */
export async function settled(bus: Bus): Promise<void> {
  const pool = fresh('settle');
  const serving = bus.serve(setScalingMode, [pool], () => ({}));
  // A gather, because that goes through the server whoever is near.
  await bus.gather(setScalingMode, [pool], { pool, mode: 'off', requestedBy: '' }, { timeoutMs: 5_000, expected: 1 });
  await serving.stop();
}
