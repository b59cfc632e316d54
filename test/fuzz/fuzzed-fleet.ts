// A whole fleet in one process on a virtual clock, with valid traffic behind it: what the fuzzers of bus, links, KV and HTTP
// send their inputs to. Whatever comes in, it must answer the next request, and nothing may fail without a code.
import type { z } from 'zod';
import { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import { askFleet } from '../../lib/fleet/ask-fleet.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Telemetry } from '../../lib/ports/telemetry.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import type { Running, Service } from '../../lib/run/service.ts';
import { createMemoryTelemetry, type MemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { admission } from '../../services/admission/service.ts';
import { agent } from '../../services/agent/service.ts';
import { autoscaler } from '../../services/autoscaler/service.ts';
import { console as operatorConsole } from '../../services/console/service.ts';
import { gateway } from '../../services/gateway/service.ts';
import { instanceTracker } from '../../services/instance-tracker/service.ts';
import { migrationCoordinator } from '../../services/migration-coordinator/service.ts';
import { router } from '../../services/router/service.ts';
import { worker } from '../../services/worker/service.ts';
import { type Findings, placeOf } from './findings.ts';
import { Traffic } from './traffic.ts';

export const gatewayUrl = 'http://127.0.0.1:8080';
export const consoleUrl = 'http://127.0.0.1:8090';
export const model = 'tiny';

export const fleetConfig = {
  pools: [
    {
      id: 'chat',
      models: [model],
      instances: 2,
      min: 1,
      max: 4,
      floor: 2,
      sim: { profile: 'llama-3.1-8b-h100', speed: 1, blocks: 256, kvBytesPerToken: 64, maxRunning: 16, maxWaiting: 16 },
    },
  ],
};

/** Logged as errors because somebody should look; they say that the input was refused. */
const refusals = [
  'message cannot be decoded, dropped',
  'message too large, dropped',
  'recorded message given up after its last delivery',
  'a token link carried something else',
  'an agent speaks another protocol',
];

/** Recording telemetry whose errors are findings. */
export function watchedTelemetry(clock: VirtualClock, id: string, findings: Findings): MemoryTelemetry {
  const recorder = createMemoryTelemetry(clock, { process: id });
  return {
    ...recorder,
    log: {
      ...recorder.log,
      error(message, fields = {}) {
        if (!refusals.includes(message)) findings.add(`${id}: ${message}: ${placeOf(String(fields.error ?? ''))}`, JSON.stringify(fields));
      },
    },
  };
}

export interface FuzzedFleet {
  readonly world: MemoryWorld<VirtualClock>;
  readonly clock: VirtualClock;
  readonly traffic: Traffic;
  /** Ports of a process that is none of the services. */
  readonly stranger: Ports;
  readonly names: readonly string[];
  /** Counters and gauges that have a value, over all processes. */
  series(): number;
  /** Addresses of the agent. */
  readonly linkAddress: string;
  readonly kvAddress: string;
  /** Time goes on while the promise is on its way. Undefined: it fails, or does not end within a minute. */
  during<T>(promise: Promise<T>): Promise<T | undefined>;
  /** Asks for an answer as a client does, and gives its status. Undefined: none came within a minute. */
  ask(): Promise<number | undefined>;
  stop(): Promise<void>;
}

export async function startFuzzedFleet(seed: number, findings: Findings): Promise<FuzzedFleet> {
  const recorders: MemoryTelemetry[] = [];
  const clock = new VirtualClock();
  const world = createMemoryWorld({ seed, clock, telemetry: (id) => watched(id) });
  const traffic = new Traffic();
  const running: Running<never>[] = [];

  function watched(id: string): Telemetry {
    const telemetry = watchedTelemetry(clock, id, findings);
    recorders.push(telemetry);
    return telemetry;
  }

  async function host<Config>(service: Service<Config>, settings: object = {}): Promise<void> {
    const schema = service.schema as z.ZodObject;
    const config = schema.parse({ ...settings, ...('fleet' in schema.shape ? { fleet: fleetConfig } : {}) }) as Config;
    running.push((await service.start(config, traffic.tapped(world.ports(`${service.name}-1`)))) as unknown as Running<never>);
  }

  await host(instanceTracker);
  await host(router);
  await host(admission);
  await host(migrationCoordinator);
  await host(autoscaler);
  await host(worker);
  await host(agent, { instances: ['chat/chat-1', 'chat/chat-2'], launcher: true });
  await host(gateway);
  await host(operatorConsole);
  await clock.advance(2_000);

  async function ask(): Promise<number | undefined> {
    let status: number | undefined;
    const body = JSON.stringify({ model, max_tokens: 3, messages: [{ role: 'user', content: 'still there?' }] });
    const asked = world.http
      .fetch(`${gatewayUrl}/v1/chat/completions`, { body })
      .then(async (reply) => {
        await reply.text();
        status = reply.status;
      })
      .catch(() => {
        status = 0;
      });
    await clock.until(() => status !== undefined, 60_000).catch(() => {});
    if (status === undefined) return undefined;
    await asked;
    return status;
  }

  async function during<T>(promise: Promise<T>): Promise<T | undefined> {
    let over = false;
    let value: T | undefined;
    promise
      .then(
        (result) => {
          value = result;
        },
        () => {},
      )
      .finally(() => {
        over = true;
      });
    await clock.until(() => over, 60_000).catch(() => {});
    return value;
  }

  const stranger = world.ports('stranger-1');
  const view = await during(askFleet(stranger.bus, { timeoutMs: 5_000 }));
  const fleet: FuzzedFleet = {
    world,
    clock,
    traffic,
    stranger,
    linkAddress: view?.instances[0]?.status?.address ?? '',
    kvAddress: view?.instances[0]?.status?.kvAddress ?? '',
    during,
    names: ['chat', 'chat-1', 'chat-2', 'gateway-1', 'agent-1', 'router-1', 'admission-1', model, 'req-known', 'stranger-1'],
    series: () => recorders.reduce((sum, recorder) => sum + recorder.counters.size, 0),
    ask,
    async stop() {
      const stopped = Promise.all(running.map((one) => one.drain(1_000)));
      let over = false;
      void stopped.finally(() => {
        over = true;
      });
      await clock.until(() => over, 120_000).catch(() => findings.add('a service does not stop'));
    },
  };
  await workABit(fleet);
  return fleet;
}

/** Requests, a move, a drain, a scaling and a vote: traffic of every kind. */
async function workABit({ world, clock }: FuzzedFleet): Promise<void> {
  const post = (path: string, body: object) =>
    world.http
      .fetch(`${consoleUrl}/operator/v1${path}`, { body: JSON.stringify(body), headers: { 'x-switchyard-operator': 'alice' } })
      .then((reply) => reply.text())
      .catch(() => '');
  const clients = Array.from({ length: 6 }, (_, n) =>
    world.http
      .fetch(`${gatewayUrl}/v1/${n === 0 ? 'completions' : 'chat/completions'}`, {
        body: JSON.stringify({
          model,
          stream: n % 2 === 0,
          max_tokens: 400,
          ...(n === 0 ? { prompt: 'once upon' } : { messages: [{ role: 'user', content: `tell me ${n} `.repeat(60) }] }),
        }),
      })
      .then((reply) => reply.text())
      .catch(() => ''),
  );
  await clock.advance(300);
  const requests: { id: string }[] =
    JSON.parse(
      await settled(
        clock,
        world.http.fetch(`${consoleUrl}/operator/v1/requests`).then((r) => r.text()),
      ),
    ) ?? [];
  const calls = [post('/migrate', { request: requests[1]?.id ?? 'req-x' }), post('/migrate', { request: requests[2]?.id ?? 'req-x' })];
  await clock.advance(2_000);
  calls.push(post('/drain', { instance: 'chat-1', withinMs: 2_000 }), post('/mode', { pool: 'chat', mode: 'active' }));
  await clock.advance(5_000);
  calls.push(post('/undrain', { instance: 'chat-1' }), post('/scale', { pool: 'chat', target: 3 }));
  await clock.advance(20_000);
  calls.push(post('/scale', { pool: 'chat', target: 1 }));
  await clock.advance(2_000);
  await settled(
    clock,
    world.http.fetch(`${consoleUrl}/operator/v1/approvals`).then((reply) => reply.text()),
  );
  calls.push(post('/approvals/approval-x/vote', { decision: 'reject', hash: '0'.repeat(64) }));
  for (const path of ['status', 'services', 'instances', 'pools', 'migrations', 'audit', 'keys', 'explain/req-x', 'trace/req-x'])
    await settled(
      clock,
      world.http.fetch(`${consoleUrl}/operator/v1/${path}`).then((reply) => reply.text()),
    );
  await clock.advance(30_000);
  await Promise.all([...clients, ...calls]);
}

async function settled<T>(clock: VirtualClock, promise: Promise<T>): Promise<T> {
  let over = false;
  void promise.finally(() => {
    over = true;
  });
  await clock.until(() => over, 60_000);
  return promise;
}
