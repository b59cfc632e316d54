// The bus and the store over TLS, on real servers with a certificate of an authority of our own.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectNatsBus } from '../../lib/bus/nats-bus.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { describeServices } from '../../lib/contracts.ts';
import { systemRng } from '../../lib/rng/system-rng.ts';
import { connectRedisStore } from '../../lib/store/redis-store.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { testCertificates } from '../support/certificates.ts';
import { startNats, startRedis, type TestServer } from '../support/servers.ts';

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
