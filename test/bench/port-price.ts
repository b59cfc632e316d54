// What one message costs on each port: `npm run bench:ports`. The production implementations on real NATS and Redis, both ends
// in this process, so the CPU time is that of caller and answerer together; the server's own is beside it.
import { Pool } from 'undici';
import { connectNatsBus } from '../../lib/bus/nats-bus.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { admit, leaveQueue, requestsDone } from '../../lib/contracts.ts';
import { createNodeHttp } from '../../lib/http/node-http.ts';
import { createNodeNet } from '../../lib/net/node-net.ts';
import type { Connection, LinkKind, Net } from '../../lib/ports/net.ts';
import type { Store } from '../../lib/ports/store.ts';
import type { Telemetry } from '../../lib/ports/telemetry.ts';
import { systemRng } from '../../lib/rng/system-rng.ts';
import { connectRedisStore } from '../../lib/store/redis-store.ts';
import { createOtelTelemetry } from '../../lib/telemetry/otel.ts';
import { AdmitReply, AdmitRequest, LinkFrame, RequestDone, RequestInfo, StreamEvent } from '../../proto/gen/messages.ts';
import { eventually } from '../support/eventually.ts';
import { startNats, startRedis } from '../support/servers.ts';
import { cpuMicrosOf } from './harness/process-cost.ts';
import type { PriceTable } from './harness/report.ts';
import { type BenchRun, runBench } from './harness/run-bench.ts';
import { percentile } from './harness/statistics.ts';

interface Operation {
  readonly port: string;
  readonly name: string;
  /** Ends when the message has had its whole effect. `index` is different each time. */
  run(index: number): Promise<unknown>;
  /** Messages of one `run`; default 1. */
  readonly messages?: number;
  /** Of the server that takes part. */
  readonly server?: number;
  /** Calls in a run of the bench, as a share of the usual count. */
  readonly share?: number;
}

const inFlight = 64;
const limits = { requestsPerMinute: 1e9, tokensPerMinute: 1e12, budgetMicros: 1e15 };
const nothing = new Uint8Array(0);

async function busOperations(nats: { address: string; pid: number }, telemetry: Telemetry, run: BenchRun): Promise<Operation[]> {
  const connect = (identity: string) => connectNatsBus({ servers: nats.address, identity, clock: systemClock, rng: systemRng, telemetry });
  const [caller, answerer] = [await connect('caller'), await connect('answerer')];
  run.atEnd(() => Promise.all([caller.drain(), answerer.drain()]));
  const request = {
    ...RequestInfo.decode(nothing),
    requestId: 'req-0123456789ab',
    pool: 'bench',
    model: 'bench',
    prefixHashes: [1, 2, 3, 4],
    keyId: 'k',
  };
  const question = { ...AdmitRequest.decode(nothing), request };
  const reply = AdmitReply.decode(nothing);
  answerer.serve(admit, ['bench'], () => reply);
  const arrived = new Map<string, () => void>();
  answerer.subscribe(leaveQueue, ['bench'], ({ requestId }) => arrived.get(requestId)?.());
  const done = { ...RequestDone.decode(nothing), pool: 'bench', model: 'bench' };
  const server = nats.pid;
  await eventually('the answerer is heard', 5_000, async () => ({
    ok: (await caller.request(admit, ['bench'], question, { timeoutMs: 500 })) !== undefined,
    seen: '',
  }));
  return [
    {
      port: 'bus',
      name: 'question and answer (admit)',
      server,
      messages: 2,
      run: () => caller.request(admit, ['bench'], question, { timeoutMs: 5_000 }),
    },
    {
      port: 'bus',
      name: 'publish to one listener',
      server,
      run: (index) =>
        new Promise<void>((resolve) => {
          const requestId = `r${index}`;
          arrived.set(requestId, () => {
            arrived.delete(requestId);
            resolve();
          });
          caller.publish(leaveQueue, ['bench'], { requestId, pool: 'bench' });
        }),
    },
    {
      port: 'bus',
      name: 'record (JetStream, stored in a file)',
      server,
      share: 0.25,
      run: (index) => caller.record(requestsDone, ['bench'], { ended: [{ ...done, requestId: `d${index}` }] }, { id: `d${index}` }),
    },
  ];
}

async function storeOperations(store: Store, server: number): Promise<Operation[]> {
  const value = Buffer.alloc(256, 7);
  await store.set('bench', value);
  const lease = await store.acquire('bench', 'bench', 60_000);
  if (!lease) throw new Error('no lease');
  const of = (name: string, run: Operation['run'], messages = 1): Operation => ({ port: 'store', name, run, server, messages });
  return [
    of('get', () => store.get('bench')),
    of('set, with a time to live', (index) => store.set(`bench/${index % 1_000}`, value, { ttlMs: 60_000 })),
    of('renew a lease', () => store.renew(lease, 60_000)),
    of('append to a log', (index) => store.append([{ key: `bench/${index % 100}`, value }], { max: 20, ttlMs: 60_000 })),
    of(
      'reserve and settle against budget and rates',
      async (index) => {
        await store.reserve({ keyId: 'k', requestId: `r${index}`, tokens: 100, costMicros: 10, limits, ttlMs: 60_000 });
        await store.settle('k', `r${index}`, { tokens: 50, costMicros: 5 });
      },
      2,
    ),
  ];
}

/** A connection whose other end sends every frame back. */
async function echo(net: Net, kind: LinkKind, run: BenchRun): Promise<(frame: Uint8Array) => Promise<Uint8Array>> {
  const listener = await net.listen(kind, { host: '127.0.0.1', port: 0, maxFrameBytes: 1 << 26 }, (other) =>
    other.onFrame((frame) => other.send(frame)),
  );
  const connection: Connection = await net.connect(listener.address, { timeoutMs: 2_000, maxFrameBytes: 1 << 26 });
  run.atEnd(async () => {
    connection.close();
    await listener.close();
  });
  const waiting: { resolve: (frame: Uint8Array) => void; reject: (why: Error) => void }[] = [];
  connection.onFrame((frame) => waiting.shift()?.resolve(frame));
  connection.onClose((why) => {
    for (const { reject } of waiting.splice(0)) reject(new Error(`the ${kind} connection was closed: ${why}`));
  });
  return (frame) =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      connection.send(frame);
    });
}

async function netOperations(run: BenchRun): Promise<Operation[]> {
  const net = createNodeNet(systemClock);
  const [link, kv] = [await echo(net, 'link', run), await echo(net, 'kv', run)];
  const data = Buffer.alloc(230, 'x');
  const event = { ...StreamEvent.decode(nothing), epoch: 1, index: 9, tokenIds: [17], text: ' word', data };
  const step = (count: number) => ({ step: { instanceId: 'bench', events: Array.from({ length: count }, (_, stream) => ({ ...event, stream })) } });
  const frames = async (count: number) => LinkFrame.decode(await link(LinkFrame.encode(step(count))));
  const block = Buffer.alloc(1 << 20, 3);
  return [
    { port: 'net', name: 'link: a step frame with 1 token, there and back', messages: 2, run: () => frames(1) },
    { port: 'net', name: 'link: a step frame with 32 tokens, there and back', messages: 2, run: () => frames(32) },
    {
      port: 'net',
      name: 'KV: a frame of 1 MB, there and back',
      messages: 2,
      share: 0.05,
      run: () => kv(block),
    },
  ];
}

async function httpOperations(telemetry: Telemetry, run: BenchRun): Promise<Operation[]> {
  const answer = JSON.stringify({ ok: true });
  const server = await createNodeHttp({ clock: systemClock, telemetry }).serve({ host: '127.0.0.1', port: 0 }, async (request, response) => {
    await request.body(1 << 20);
    response.head(200, { 'content-type': 'application/json' });
    response.end(answer);
  });
  const pool = new Pool(server.address, { connections: inFlight, pipelining: 1 });
  run.atEnd(async () => {
    await pool.close();
    await server.close(1_000);
  });
  const body = Buffer.alloc(1_024, 'x');
  return [
    {
      port: 'http',
      name: 'a request of 1 KB and its answer, with the client (undici)',
      messages: 2,
      run: async () => (await pool.request({ method: 'POST', path: '/', body })).body.text(),
    },
  ];
}

function telemetryOperations(telemetry: Telemetry): Operation[] {
  const counter = telemetry.counter('switchyard_routing_decisions_total');
  const histogram = telemetry.histogram('switchyard_scheduler_e2e_duration_seconds');
  const attributes = { 'switchyard.request.id': 'r', 'switchyard.source': 'a', 'switchyard.target': 'b', 'switchyard.stage': 1 };
  const hundred = (one: () => void) => async () => {
    for (let index = 0; index < 100; index++) one();
  };
  const of = (name: string, one: () => void): Operation => ({ port: 'telemetry', name, messages: 100, share: 0.2, run: hundred(one) });
  return [
    of('a span with four attributes, not exported', () => telemetry.start('route', { attributes }).end()),
    of('a count with two labels', () => counter.add(1, { pool: 'bench', result: 'assigned' })),
    of('an observation', () => histogram.observe(0.001)),
  ];
}

interface Cost {
  readonly p50Micros: number;
  readonly perSecond: number;
  readonly cpuMicros: number;
  readonly serverMicros: number | null;
}

async function measure(operation: Operation, wanted: number): Promise<Cost> {
  const count = Math.max(inFlight, Math.round(wanted * (operation.share ?? 1)));
  const messages = operation.messages ?? 1;
  let next = 0;
  const lane = async (until: number) => {
    while (next < until) await operation.run(next++);
  };
  await lane(count / 4);
  const alone: number[] = [];
  for (const until = next + count / 4; next < until; ) {
    const startMs = performance.now();
    await operation.run(next++);
    alone.push((performance.now() - startMs) * 1000);
  }
  const server = operation.server === undefined ? [] : [operation.server];
  const before = { cpu: process.cpuUsage(), server: cpuMicrosOf(server), ms: performance.now() };
  const until = next + count;
  await Promise.all(Array.from({ length: inFlight }, () => lane(until)));
  const { user, system } = process.cpuUsage(before.cpu);
  const all = count * messages;
  return {
    p50Micros: percentile(alone, 0.5),
    perSecond: (all * 1000) / (performance.now() - before.ms),
    cpuMicros: (user + system) / all,
    serverMicros: server.length > 0 ? (cpuMicrosOf(server) - before.server) / all : null,
  };
}

await runBench('ports', async (run): Promise<PriceTable[]> => {
  const telemetry = createOtelTelemetry({ service: 'bench', id: 'bench', pid: process.pid, version: '0', clock: systemClock, logLevel: 'warn' });
  const [nats, redis] = await Promise.all([startNats(), startRedis()]);
  run.atEnd(() => Promise.all([nats.stop(), redis.stop()]));
  const store = connectRedisStore({ url: redis.address, clock: systemClock, telemetry });
  run.atEnd(() => store.close());
  await eventually('the store is connected', 5_000, () => ({ ok: store.connected(), seen: 'not connected' }));
  const operations = [
    ...(await busOperations(nats, telemetry, run)),
    ...(await storeOperations(store, redis.pid)),
    ...(await netOperations(run)),
    ...(await httpOperations(telemetry, run)),
    ...telemetryOperations(telemetry),
  ].filter(({ port }) => run.only.length === 0 || run.only.includes(port));
  const rows: (string | number | null)[][] = [];
  for (const operation of operations) {
    run.say(`${operation.port}: ${operation.name}`);
    const { p50Micros, perSecond, cpuMicros, serverMicros } = await measure(operation, run.mode === 'full' ? 40_000 : 2_000);
    rows.push([`${operation.port}: ${operation.name}`, operation.messages ?? 1, p50Micros, perSecond, cpuMicros, serverMicros]);
  }
  return [
    {
      title: 'A message on each port',
      columns: ['', 'messages', 'alone, p50 µs', 'messages a second', 'CPU µs a message', 'of the server'],
      rows,
      notes: [
        `alone: the whole operation, one after the other. The rest: ${inFlight} operations in flight, per message`,
        'CPU of both ends together; the server is NATS or Redis. Workflows: see the bench of moves; engines: see the agents in the bench of gateways',
      ],
    },
  ];
});
