// All ports of a whole fleet in one process, sharing one bus network, store, net, http and workflow runtime: for unit
// tests (virtual clock, one seed gives one run) and, with a real clock and real http, for --embedded.
import { createMemoryBusNetwork } from '../bus/memory-bus.ts';
import { VirtualClock } from '../clock/virtual-clock.ts';
import { createMemoryHttp, type MemoryHttp } from '../http/memory-http.ts';
import { createMemoryNet, type MemoryNet } from '../net/memory-net.ts';
import type { Clock } from '../ports/clock.ts';
import type { Http } from '../ports/http.ts';
import type { Ports } from '../ports/ports.ts';
import type { Rng } from '../ports/rng.ts';
import type { Store } from '../ports/store.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { seededRng } from '../rng/seeded-rng.ts';
import { createMemoryStore } from '../store/memory-store.ts';
import { createMemoryTelemetry, type MemoryTelemetry } from '../telemetry/memory-telemetry.ts';
import { createMemoryWorkflows } from '../workflows/memory-workflows.ts';

export interface MemoryWorldOptions<C extends Clock> {
  /** Default 1. */
  readonly seed?: number;
  /** Default: a virtual clock. */
  readonly clock?: C;
  /** Replaces the seeded generators. */
  readonly rng?: Rng;
  /** Replaces the twin, for the processes that people talk to. */
  readonly http?: Http;
  /** Replaces the recording telemetry. */
  readonly telemetry?: (id: string) => Telemetry;
  /** One way, for frames between connections. Default 0. */
  readonly netLatencyMs?: number;
  readonly pid?: number;
  /** Of the environment, as configurations name them. */
  readonly variables?: Readonly<Record<string, string | undefined>>;
}

export interface MemoryWorld<C extends Clock> {
  readonly clock: C;
  readonly store: Store;
  readonly net: MemoryNet;
  /** The twin and its `fetch`; unused when another http was given. */
  readonly http: MemoryHttp;
  readonly workflows: ReturnType<typeof createMemoryWorkflows>;
  /** Records of every process; per-process counters are in `telemetryOf(id)`. */
  readonly telemetry: MemoryTelemetry;
  /** The ports of the process `id` (for example router-1); the same object each time. */
  ports(id: string): Ports;
  telemetryOf(id: string): MemoryTelemetry;
}

export function createMemoryWorld<C extends Clock = VirtualClock>(options: MemoryWorldOptions<C> = {}): MemoryWorld<C> {
  const clock = options.clock ?? (new VirtualClock() as Clock as C);
  const seeds = options.rng ?? seededRng(options.seed ?? 1);
  const telemetry = createMemoryTelemetry(clock, { process: 'world' });
  const recorders = new Map<string, MemoryTelemetry>();
  const made = new Map<string, Ports>();
  const network = createMemoryBusNetwork(clock);
  const store = createMemoryStore(clock);
  const net = createMemoryNet(clock, { latencyMs: options.netLatencyMs ?? 0 });
  const http = createMemoryHttp({ telemetry, clock });
  const workflowTelemetry = options.telemetry?.('workflows') ?? telemetry;
  const workflows = createMemoryWorkflows({ clock, telemetry: workflowTelemetry });

  function telemetryOf(id: string): MemoryTelemetry {
    let recorder = recorders.get(id);
    if (!recorder) {
      recorder = createMemoryTelemetry(clock, { process: id, sharing: telemetry });
      recorders.set(id, recorder);
    }
    return recorder;
  }

  return {
    clock,
    store,
    net,
    http,
    workflows,
    telemetry,
    telemetryOf,
    ports(id) {
      const existing = made.get(id);
      if (existing) return existing;
      const own = options.telemetry?.(id) ?? telemetryOf(id);
      const ports: Ports = {
        clock,
        rng: options.rng ?? seededRng(seeds.seed()),
        bus: network.connect(id, own),
        store,
        net,
        http: options.http ?? http,
        workflows,
        telemetry: own,
        identity: { id, pid: options.pid ?? 1 },
        variable: (name) => options.variables?.[name] || undefined,
      };
      made.set(id, ports);
      return ports;
    },
  };
}
