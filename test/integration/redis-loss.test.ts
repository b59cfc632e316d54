// Redis confirms a write before it is on the disk. Here it really loses what it had confirmed, and the ledger is whole
// again afterwards: admission settles from the record what the loss may have taken.
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, test } from 'vitest';
import { connectNatsBus } from '../../lib/bus/nats-bus.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { requestsDone } from '../../lib/contracts.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Store } from '../../lib/ports/store.ts';
import { systemRng } from '../../lib/rng/system-rng.ts';
import { createMemoryWorld } from '../../lib/run/memory-ports.ts';
import type { Running } from '../../lib/run/service.ts';
import { connectRedisStore } from '../../lib/store/redis-store.ts';
import { createMemoryTelemetry, type MemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import type { RequestDone } from '../../proto/gen/messages.ts';
import { admissionSchema } from '../../services/admission/config.ts';
import { admission } from '../../services/admission/service.ts';
import { eventually } from '../support/eventually.ts';
import { startGuardedServers } from '../support/guarded-servers.ts';
import type { TestServer } from '../support/servers.ts';

const price = { inputMicros: 2, outputMicros: 10 };
const used = { promptTokens: 50, outputTokens: 40 };
const costMicros = used.promptTokens * price.inputMicros + used.outputTokens * price.outputMicros;
const keyId = 'key-1';
const unlimited = { requestsPerMinute: 0, tokensPerMinute: 0, budgetMicros: 0 };

let nats: TestServer;
let redis: TestServer;
let bus: Bus;
let store: Store;
let telemetry: MemoryTelemetry;
let running: Running<never>;
const folder = mkdtempSync(join(tmpdir(), 'switchyard-redis-loss-'));
const earlier = join(folder, 'earlier');

async function startAdmission(): Promise<Running<never>> {
  const fleet = { pools: [{ id: 'chat', models: ['m'], instances: 1, sim: { profile: 'p' }, price }] };
  const ports: Ports = { ...createMemoryWorld().ports('admission-1'), clock: systemClock, rng: systemRng, bus, store, telemetry };
  return admission.start(admissionSchema.parse({ fleet }), ports);
}

beforeAll(async () => {
  // With users and rules, as in production: they have a part in what Redis keeps.
  ({ nats, redis } = await startGuardedServers(join(folder, 'credentials')));
  telemetry = createMemoryTelemetry(systemClock, { process: 'admission-1' });
  bus = await connectNatsBus({ servers: nats.address, identity: 'admission-1', clock: systemClock, rng: systemRng, telemetry });
  store = connectRedisStore({ url: redis.address, clock: systemClock, telemetry });
  running = await startAdmission();
});
afterAll(async () => {
  await running?.drain(1_000);
  await store?.close();
  await bus?.drain();
  await Promise.all([nats?.stop(), redis?.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

async function end(requestId: string): Promise<void> {
  await store.reserve({ keyId, requestId, tokens: 100, costMicros: 2 * costMicros, limits: unlimited, ttlMs: 600_000 });
  const nowMs = systemClock.now();
  const done: RequestDone = {
    ...{ requestId, pool: 'chat', model: 'm', keyId, instanceId: 'chat-1', epoch: 1, outcome: 'completed', code: '', ...used },
    ...{ cachedTokens: 0, arrivalMs: nowMs, firstTokenMs: nowMs, endMs: nowMs, migrations: 0, failovers: 0 },
    ...{ sloClass: 'standard', gatewayId: 'gateway-1', traceId: '' },
  };
  await bus.record(requestsDone, ['chat'], { ended: [done] }, { id: requestId });
}

const endAll = (from: number, count: number) => Promise.all(Array.from({ length: count }, (_, index) => end(`r${from + index}`)));

const spent = (requests: number) =>
  eventually(`${requests} requests are paid, and nothing is reserved`, 20_000, async () => {
    const { spentMicros, reservedMicros } = await store.ledger(keyId, unlimited);
    return { ok: spentMicros === requests * costMicros && reservedMicros === 0, seen: { spentMicros, reservedMicros } };
  });

/** How often ended requests have been settled once more. */
const repeats = () => telemetry.logs.filter(({ message }) => message === 'ended requests settled once more').length;

const repeated = (more: number, before: number) =>
  eventually('ended requests are settled once more', 20_000, () => ({ ok: repeats() >= before + more, seen: repeats() - before }));

/** Redis dies; when it comes back it has what it had when `earlier` was kept. */
async function loseTheLast(): Promise<void> {
  await redis.kill();
  rmSync(redis.dataFolder, { recursive: true, force: true });
  cpSync(earlier, redis.dataFolder, { recursive: true });
  await redis.restart();
}

function keep(): void {
  rmSync(earlier, { recursive: true, force: true });
  cpSync(redis.dataFolder, earlier, { recursive: true });
}

test('what Redis had confirmed and lost is paid after its return, and what it had kept is not paid twice', async () => {
  await endAll(0, 20);
  await spent(20);
  keep();
  await endAll(20, 30);
  await spent(50);

  const before = repeats();
  await loseTheLast();
  await repeated(1, before);
  await spent(50);

  await redis.kill();
  await redis.restart();
  await repeated(2, before);
  await spent(50);
});

test('a restart in good order loses nothing: not what was spent, not who has paid', async () => {
  await redis.restart();
  await spent(50);
  for (let n = 0; n < 50; n++) await store.settle(keyId, `r${n}`, { tokens: 1, costMicros: 1 });
  await spent(50);
});

test('a loss while admission was not there is made good when it starts', async () => {
  keep();
  await endAll(50, 10);
  await spent(60);
  await running.drain(1_000);
  await loseTheLast();
  await spent(50);
  const before = repeats();
  running = await startAdmission();
  await repeated(1, before);
  await spent(60);
});
