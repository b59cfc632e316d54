// What services connect to, and what they serve operators with, over TLS, with a certificate of an authority of our own: real
// NATS and Redis, a real Temporal behind a proxy that wants a certificate, the operator API and its command.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect as dial, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { promisify } from 'node:util';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectNatsBus } from '../../lib/bus/nats-bus.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { describeServices } from '../../lib/contracts.ts';
import { createNodeHttp } from '../../lib/http/node-http.ts';
import { systemRng } from '../../lib/rng/system-rng.ts';
import { readEnvironment } from '../../lib/run/environment.ts';
import { createMemoryWorld } from '../../lib/run/memory-ports.ts';
import { connectRealPorts, type RealPorts } from '../../lib/run/real-ports.ts';
import { connectRedisStore } from '../../lib/store/redis-store.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { consoleSchema } from '../../services/console/config.ts';
import { console as operatorConsole, type RunningConsole } from '../../services/console/service.ts';
import { bundleWorkflows } from '../../workflows/bundle.ts';
import { testCertificates } from '../support/certificates.ts';
import { eventually } from '../support/eventually.ts';
import { startNats, startRedis, startTemporal, type TestServer } from '../support/servers.ts';
import { activitiesWith, migrationPlan } from '../support/workflow-inputs.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchyard-server-tls-'));
const certificates = testCertificates();
const telemetry = createMemoryTelemetry(systemClock, { process: 'test' });
const file = (name: string) => join(folder, name);
let nats: TestServer;
let redis: TestServer;

beforeAll(async () => {
  for (const [name, text] of Object.entries(certificates)) writeFileSync(file(`${name}.pem`), text, { mode: 0o600 });
  // Both want a certificate of those who connect, too.
  const tls = `cert_file: "${file('cert.pem')}", key_file: "${file('key.pem')}", ca_file: "${file('ca.pem')}", verify: true`;
  writeFileSync(file('nats.conf'), `tls { ${tls} }\nauthorization { user: test, password: test }\n`);
  writeFileSync(file('users.acl'), 'user test on >test ~* &* +@all\n');
  const [cert, key, ca] = ['cert', 'key', 'ca'].map((name) => file(`${name}.pem`)) as [string, string, string];
  [nats, redis] = await Promise.all([
    startNats({ file: file('nats.conf'), login: 'test:test' }),
    startRedis({ file: file('users.acl'), login: 'test:test', tls: { cert, key, ca } }),
  ]);
});
afterAll(async () => {
  await Promise.all([nats?.stop(), redis?.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

test('NATS', async () => {
  const options = { servers: nats.address, identity: 'test', clock: systemClock, rng: systemRng, telemetry };
  const bus = await connectNatsBus({ ...options, tls: certificates });
  bus.serve(describeServices, [], () => ({
    service: 'x',
    id: 'x',
    pid: 1,
    startedAtMs: 0,
    ready: true,
    notReadyBecause: '',
    owns: [],
    version: '',
    probeAddress: '',
  }));
  expect((await bus.request(describeServices, [], {}, { timeoutMs: 2_000 })).id).toBe('x');
  await bus.drain();
  const given = new AbortController();
  const distrusting = connectNatsBus({ ...options, tls: testCertificates(), signal: given.signal });
  given.abort();
  await expect(distrusting).rejects.toThrow();
});

test('Redis', async () => {
  const store = connectRedisStore({ url: redis.address, clock: systemClock, telemetry, tls: certificates });
  await store.set('key/x', Uint8Array.of(7));
  expect(await store.get('key/x')).toEqual(Buffer.from([7]));
  await store.close();
  const distrusting = connectRedisStore({ url: redis.address, clock: systemClock, telemetry, tls: testCertificates() });
  await expect(distrusting.get('key/x')).rejects.toMatchObject({ code: 'store_unavailable' });
  await distrusting.close();
});

describe('Temporal', () => {
  let temporal: TestServer;
  let port: number;
  const open = new Set<Socket>();
  const proxy = createServer(
    { cert: certificates.cert, key: certificates.key, ca: certificates.ca, requestCert: true, rejectUnauthorized: true, ALPNProtocols: ['h2'] },
    (socket) => {
      const server = dial(temporal.port, '127.0.0.1');
      for (const [from, to] of [
        [socket, server],
        [server, socket],
      ] as const) {
        open.add(from);
        from.on('error', () => to.destroy());
        from.on('close', () => to.destroy());
        from.pipe(to);
      }
    },
  );

  beforeAll(async () => {
    temporal = await startTemporal();
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    ({ port } = proxy.address() as AddressInfo);
  });
  afterAll(async () => {
    for (const socket of open) socket.destroy();
    await new Promise((resolve) => proxy.close(resolve));
    await temporal?.stop();
  });

  /** As a service process gets it from its environment. */
  async function connected(variables: Record<string, string>): Promise<RealPorts> {
    return connectRealPorts({
      environment: readEnvironment({
        NATS_URL: nats.address,
        NATS_CA: file('ca.pem'),
        NATS_CERT: file('cert.pem'),
        NATS_KEY: file('key.pem'),
        REDIS_URL: redis.address,
        REDIS_CA_FILE: file('ca.pem'),
        REDIS_CERT_FILE: file('cert.pem'),
        REDIS_KEY_FILE: file('key.pem'),
        TEMPORAL_ADDRESS: `127.0.0.1:${port}`,
        ...variables,
      }),
      identity: { id: 'worker-1', pid: process.pid },
      service: 'worker',
      telemetry,
      signal: new AbortController().signal,
      waiting: () => {},
    });
  }
  const own = {
    TEMPORAL_TLS_SERVER_CA_CERT_PATH: file('ca.pem'),
    TEMPORAL_TLS_CLIENT_CERT_PATH: file('cert.pem'),
    TEMPORAL_TLS_CLIENT_KEY_PATH: file('key.pem'),
  };

  test('workflows are started, hosted and finished', async () => {
    const { ports, close } = await connected(own);
    const { workflows } = ports;
    const hosting = workflows.host(activitiesWith({}), { bundle: () => bundleWorkflows() });
    await eventually('workflows are hosted', 30_000, () => ({ ok: hosting.ready() === true, seen: hosting.ready() }));
    expect(await workflows.start('migrateRequest', 'mig-1', migrationPlan({ migrationId: 'mig-1' }))).toBe(true);
    expect(await workflows.result('migrateRequest', 'mig-1')).toMatchObject({ outcome: 'committed' });
    await hosting.stop(2_000);
    await close();
  });

  test.each([
    ['without TLS', {}],
    ['without a certificate', { TEMPORAL_TLS_SERVER_CA_CERT_PATH: own.TEMPORAL_TLS_SERVER_CA_CERT_PATH }],
    ['without the authority', { TEMPORAL_TLS: 'true' }],
    ['under another name', { ...own, TEMPORAL_TLS_SERVER_NAME: 'temporal.example' }],
  ])('%s nothing is started', async (_how, variables) => {
    const { ports, close } = await connected(variables);
    await expect(ports.workflows.start('migrateRequest', 'mig-2', migrationPlan({ migrationId: 'mig-2' }))).rejects.toMatchObject({
      code: 'workflows_unavailable',
    });
    expect(ports.workflows.connected()).toBe(false);
    await close();
  });
});

describe('the operator API', () => {
  const pools = [{ id: 'chat', models: ['llama-3.1-8b'], instances: 1, min: 1, max: 2, floor: 1, sim: { profile: 'llama-3.1-8b-h100' } }];
  const clients: Agent[] = [];
  afterAll(async () => {
    for (const client of clients) await client.close();
  });

  async function serve(settings: Record<string, unknown>): Promise<RunningConsole> {
    const world = createMemoryWorld({ clock: systemClock, http: createNodeHttp({ clock: systemClock, telemetry }) });
    const config = { port: 0, tlsCertFile: file('cert.pem'), tlsKeyFile: file('key.pem'), fleet: { pools }, ...settings };
    return (await operatorConsole.start(consoleSchema.parse(config), world.ports('console-1'))) as RunningConsole;
  }

  async function status(address: string, connect: Record<string, string>): Promise<number | string> {
    const client = new Agent({ connect });
    clients.push(client);
    try {
      const reply = await request(`${address}/operator/v1/services`, { dispatcher: client, headers: { 'x-switchyard-operator': 'ann' } });
      await reply.body.dump();
      return reply.statusCode;
    } catch {
      return 'refused';
    }
  }

  test('is served to who trusts the authority, and not in the clear', async () => {
    const running = await serve({});
    expect(running.address).toMatch(/^https:/);
    expect(await status(running.address, { ca: certificates.ca })).toBe(200);
    expect(await status(running.address, { ca: testCertificates().ca })).toBe('refused');
    expect(await status(running.address.replace('https:', 'http:'), {})).toBe('refused');
    await running.drain(100);
  });

  test('with authorities for clients, to those alone that have a certificate of theirs', async () => {
    const running = await serve({ tlsClientCaFile: file('ca.pem') });
    const { ca, cert, key } = certificates;
    expect(await status(running.address, { ca, cert, key })).toBe(200);
    expect(await status(running.address, { ca })).toBe('refused');
    const others = testCertificates();
    expect(await status(running.address, { ca, cert: others.cert, key: others.key })).toBe('refused');
    await running.drain(100);
  });

  test('the switchyard command reaches it with an authority of our own', async () => {
    const running = await serve({});
    const command = (env: Record<string, string>) =>
      promisify(execFile)(process.execPath, [join(import.meta.dirname, '../../cli/main.ts'), '--url', running.address, '--json', 'audit'], {
        env: { ...process.env, ...env },
      }).then(
        ({ stdout }) => JSON.parse(stdout) as unknown,
        (failed: { code: number }) => failed.code,
      );
    expect(await command({ NODE_EXTRA_CA_CERTS: file('ca.pem') })).toEqual([]);
    expect(await command({})).toBe(3);
    await running.drain(100);
  });
});
