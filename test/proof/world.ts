// What the rows share: a whole fleet with replicas, one API key with a budget, verified streams, and a count of how often
// the end of each request was told.
import { connectNatsBus } from '../../lib/bus/nats-bus.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import type { InstanceRow, KeyRow, MigrationsReport, RequestRow, ScrapeTarget, ServiceRow } from '../../lib/operator/types.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import type { LedgerState, Store } from '../../lib/ports/store.ts';
import type { Workflows } from '../../lib/ports/workflows.ts';
import { systemRng } from '../../lib/rng/system-rng.ts';
import { connectRedisStore } from '../../lib/store/redis-store.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { connectTemporalWorkflows } from '../../lib/workflows/temporal-workflows.ts';
import type { RequestDone } from '../../proto/gen/messages.ts';
import { connectStreams, type Streams } from '../integration/live-streams.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, type FleetOptions, startFleet } from '../support/fleet.ts';

export const model = 'llama-3.1-8b';
/** Of a pool that is full with a few requests. */
export const smallModel = 'small';
export const smallRunning = 8;
/** Of the pool that is overloaded. */
export const crowdModel = 'crowd';
/** Micro-dollars per token in every pool. */
export const price = { inputMicros: 2, outputMicros: 10 };
const limits = { requestsPerMinute: 0, tokensPerMinute: 0, budgetMicros: 1_000_000_000 };

/** What is held at one moment; all zero when nothing runs. */
const nothing = { sequences: 0, blocks: 0, requests: 0, migrations: 0, workflows: 0, budgetMicros: 0 };
export type Held = Readonly<typeof nothing>;

export interface World {
  readonly fleet: Fleet;
  /** One for each gateway. */
  readonly streams: readonly Streams[];
  readonly key: { readonly id: string; readonly secret: string };
  readonly bus: Bus;
  /** What was told about the end of each request: once each, if all is well. */
  readonly ends: ReadonlyMap<string, readonly RequestDone[]>;
  services(): Promise<ServiceRow[]>;
  running(): Promise<RequestRow[]>;
  ledger(keyId?: string): Promise<LedgerState>;
  /** A row begins: what an earlier one has left behind is not this one's. */
  begin(): Promise<void>;
  /** More than at the beginning of the row. */
  held(): Promise<Held>;
  /** What the recorded ends of the key's requests say was used, less what its ledger has: since the beginning of the row. */
  unpaidMicros(): Promise<number>;
  /** Waits until nothing is held by anybody. */
  nothingIsHeld(withinMs?: number): Promise<void>;
  /** Sum of the samples of a metric at a process, over those whose line contains `labels`. */
  metric(id: string, name: string, labels?: string): Promise<number>;
  stop(): Promise<void>;
}

export async function startWorld(options: FleetOptions): Promise<World> {
  const fleet = await startFleet({ ...options, settings: { ...options.settings, gateway: { auth: 'keys', ...settingsOf(options, 'gateway') } } });
  const operator = fleet.client('proof');
  const telemetry = createMemoryTelemetry(systemClock, { process: 'proof' });
  const bus = await connectNatsBus({ servers: fleet.servers.nats.address, identity: 'proof', clock: systemClock, rng: systemRng, telemetry });
  const store: Store = connectRedisStore({ url: fleet.servers.redis.address, clock: systemClock, telemetry });
  const workflows: Workflows = connectTemporalWorkflows({ address: fleet.temporalAddress, namespace: 'default', telemetry });
  const ends = new Map<string, RequestDone[]>();
  // From the stream of recorded events, which has what was told while this process was cut off.
  const heard = new Set<string>();
  const recorded = await bus.consume(contracts.requestsDone, 'proof', async ({ meta, ended }) => {
    // Delivered again when an acknowledgement was lost.
    if (heard.has(meta!.id)) return;
    heard.add(meta!.id);
    for (const done of ended) ends.set(done.requestId, [...(ends.get(done.requestId) ?? []), done]);
  });
  const key = await operator.post<KeyRow & { secret: string }>('/keys', { name: 'proof', ...limits });
  const streams = fleet.gatewayUrls.map((url) => connectStreams(url, key.secret));

  let heldBefore: Held = nothing;
  let unpaidBefore = 0;

  async function unpaid(): Promise<number> {
    const done = [...ends.values()].map(([first]) => first!).filter(({ keyId, instanceId }) => keyId === key.id && instanceId !== '');
    const used = done.reduce((sum, end) => sum + end.promptTokens * price.inputMicros + end.outputTokens * price.outputMicros, 0);
    return used - (await store.ledger(key.id, limits)).spentMicros;
  }

  async function held(): Promise<Held> {
    const now = await heldNow();
    return Object.fromEntries(Object.entries(now).map(([what, count]) => [what, Math.max(0, count - heldBefore[what as keyof Held])])) as Held;
  }

  async function heldNow(): Promise<Held> {
    const [instances, report, requests, open, ledger] = await Promise.all([
      fleet.instances(),
      operator.get<MigrationsReport>('/migrations'),
      fleet.requests(),
      workflows.list({ running: true, limit: 100 }),
      store.ledger(key.id, limits),
    ]);
    const sum = (count: (row: InstanceRow) => number) => instances.reduce((total, row) => total + count(row), 0);
    return {
      sequences: sum((row) => row.running + row.queued),
      blocks: sum((row) => row.reservedBlocks + row.totalBlocks - row.freeBlocks),
      requests: requests.length,
      migrations: report.active.length,
      workflows: open.length,
      budgetMicros: ledger.reservedMicros,
    };
  }

  const nothingIsHeld = (withinMs = 60_000) =>
    eventually('nothing is held', withinMs, async () => {
      const seen = await held();
      return { ok: Object.values(seen).every((count) => count === 0), seen };
    });

  return {
    fleet,
    streams,
    key,
    bus,
    ends,
    services: () => operator.get<ServiceRow[]>('/services'),
    running: async () => (await fleet.requests()).filter((row) => row.state === 'streaming'),
    ledger: (keyId = key.id) => store.ledger(keyId, limits),
    async begin() {
      heldBefore = nothing;
      // What still ends by itself has the time for it.
      await nothingIsHeld(15_000).catch(() => {});
      heldBefore = await heldNow();
      unpaidBefore = await unpaid();
    },
    held,
    unpaidMicros: async () => (await unpaid()) - unpaidBefore,
    nothingIsHeld,
    async metric(id, name, labels = '') {
      let target: string | undefined;
      // A process that is busy may answer too late to be listed.
      await eventually(`${id} is listed with its metrics`, 30_000, async () => {
        const targets = await operator.get<ScrapeTarget[]>('/scrape-targets');
        target = targets.find((candidate) => Object.values(candidate.labels).includes(id))?.targets[0];
        return { ok: target !== undefined, seen: targets.map((candidate) => candidate.labels) };
      });
      const text = await (await fetch(`http://${target}/metrics`)).text();
      const lines = text.split('\n').filter((line) => new RegExp(`^${name}[{ ]`).test(line) && line.includes(labels));
      return lines.reduce((total, line) => total + Number(line.slice(line.lastIndexOf(' '))), 0);
    },
    async stop() {
      await recorded.stop();
      await Promise.all([...streams.map((each) => each.close()), workflows.close(), store.close(), bus.drain()]);
      await fleet.stop();
    },
  };
}

function settingsOf(options: FleetOptions, service: string): object {
  return (options.settings?.[service] as object | undefined) ?? {};
}
