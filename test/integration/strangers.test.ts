// A fleet as it is set up, with keys and TLS, seen by a stranger: every port that any of its processes listens on is found
// and tried. And by those who watch it: no word of a prompt is in a log, a metric or a span.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { connect as dial } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as dialTls } from 'node:tls';
import { connect as connectNats } from '@nats-io/transport-node';
import { Redis } from 'ioredis';
import { Agent, request } from 'undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { createKey } from '../../lib/auth/keys.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import type { ScrapeTarget, ServiceRow } from '../../lib/operator/types.ts';
import { systemRng } from '../../lib/rng/system-rng.ts';
import { connectRedisStore } from '../../lib/store/redis-store.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { LinkFrame } from '../../proto/gen/messages.ts';
import { testCertificates } from '../support/certificates.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { type OtlpReceiver, startOtlpReceiver } from '../support/otlp-receiver.ts';

const model = 'llama-3.1-8b';
const canary = 'xylophone-canary-7731';

describe('strangers', () => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-tls-'));
  const certificates = testCertificates();
  let fleet: Fleet;
  let receiver: OtlpReceiver;
  let secret: string;
  let https: Agent;

  beforeAll(async () => {
    for (const [name, text] of Object.entries(certificates)) writeFileSync(join(folder, `${name}.pem`), text, { mode: 0o600 });
    const [ca, cert, key] = ['ca', 'cert', 'key'].map((name) => join(folder, `${name}.pem`)) as [string, string, string];
    receiver = await startOtlpReceiver();
    https = new Agent({ connect: { ca: certificates.ca } });
    fleet = await startFleet({
      pools: [
        {
          id: 'chat',
          models: [model],
          instances: 2,
          sim: { profile: 'llama-3.1-8b-h100', speed: 0.3, blocks: 1024, kvBytesPerToken: 256, maxRunning: 16, maxWaiting: 16 },
        },
      ],
      settings: {
        gateway: { auth: 'keys', tlsCertFile: cert, tlsKeyFile: key },
        'migration-coordinator': { mode: 'off' },
        console: { auth: 'keys' },
      },
      env: {
        SWITCHYARD_LOG_LEVEL: 'debug',
        SWITCHYARD_LINK_TLS_CERT_FILE: cert,
        SWITCHYARD_LINK_TLS_KEY_FILE: key,
        SWITCHYARD_LINK_TLS_CA_FILE: ca,
        OTEL_TRACES_EXPORTER: 'otlp',
        OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint,
        OTEL_BSP_SCHEDULE_DELAY: '200',
      },
    });
    const store = connectRedisStore({
      url: fleet.servers.redis.address,
      clock: systemClock,
      telemetry: createMemoryTelemetry(systemClock, { process: 'test' }),
    });
    ({ secret } = await createKey({ store, clock: systemClock, rng: systemRng }, { name: 'client' }));
    await store.close();
  });
  afterAll(async () => {
    await Promise.all([fleet?.stop(), https?.close(), receiver?.stop()]);
    rmSync(folder, { recursive: true, force: true });
  });

  const processes = () => fleet.client('test').get<ServiceRow[]>('/services');
  const gateway = () => fleet.gatewayUrl.replace('http:', 'https:');

  async function ask(path: string, body: string, headers: Record<string, string> = {}): Promise<{ status: number; text: string }> {
    const reply = await request(gateway() + path, {
      method: 'POST',
      dispatcher: https,
      headers: { 'content-type': 'application/json', authorization: `Bearer ${secret}`, ...headers },
      body,
    });
    return { status: reply.statusCode, text: await reply.body.text() };
  }

  const chat = (fields: object = {}) =>
    JSON.stringify({ model, max_tokens: 40, messages: [{ role: 'user', content: `Say ${canary} again` }], ...fields });

  test('those with a key are served over TLS, and their requests move between instances over TLS', async () => {
    expect(await ask('/v1/chat/completions', chat())).toMatchObject({ status: 200 });
    const streaming = ask('/v1/chat/completions', chat({ stream: true, max_tokens: 400 }));
    await eventually('the stream runs', 20_000, async () => {
      const rows = await fleet.requests();
      return { ok: rows.some((row) => row.state === 'streaming' && row.tokens > 5), seen: rows };
    });
    const [row] = await fleet.requests();
    await fleet.client('test').post('/migrate', { request: row!.id, to: row!.instance === 'chat-1' ? 'chat-2' : 'chat-1' });
    const { status, text } = await streaming;
    expect(status).toBe(200);
    expect(text.trimEnd().endsWith('data: [DONE]')).toBe(true);
    const { committed } = await fleet.client('test').get<{ committed: number }>('/migrations');
    expect(committed).toBe(1);
    const addresses = (await fleet.instances()).map((instance) => instance.address);
    expect(addresses.every((address) => address.startsWith('wss://'))).toBe(true);
  });

  async function everythingInRedis(): Promise<string> {
    const redis = new Redis(fleet.servers.redis.address);
    const found: string[] = [];
    for (const key of await redis.keys('*')) found.push(key, ((await redis.dump(key)) ?? '').toString());
    redis.disconnect();
    return found.join('\n');
  }

  test('no port answers a stranger beyond probes, metrics and the public API', async () => {
    const probes = (await fleet.client('test').get<ScrapeTarget[]>('/scrape-targets')).flatMap(({ targets }) =>
      targets.map((target) => Number(target.split(':')[1])),
    );
    const publicPort = Number(new URL(fleet.gatewayUrl).port);
    const consolePort = Number(new URL(fleet.consoleUrl).port);
    const { nats, redis } = fleet.servers;
    const tried = { probes: 0, agents: 0, gateways: 0, consoles: 0 };
    const running = await processes();
    for (const { id, pid } of running) {
      for (const port of listeningPorts(pid)) {
        const what = `${id} on port ${port}`;
        if (port === consolePort) {
          await expectKeysOnly(port, what);
          tried.consoles++;
        } else if (probes.includes(port)) {
          await expectProbe(port, what);
          tried.probes++;
        } else if (port === publicPort) {
          await expectDoorsOfGateway(what);
          tried.gateways++;
        } else {
          expect(id, what).toMatch(/^agent-/);
          await expectSilence(port, what);
          tried.agents++;
        }
      }
    }
    expect(tried).toEqual({ probes: running.length, agents: 2 * 2, gateways: 1, consoles: 1 });
    for (const { id, pid } of running) expect(boundBeyondLoopback(pid), id).toEqual([]);
    for (const [name, { pid }] of Object.entries(fleet.servers)) expect(boundBeyondLoopback(pid), name).toEqual([]);
    for (const words of ['CONNECT {"verbose":true}', 'CONNECT {"verbose":true,"user":"gateway","pass":"x"}\r\nSUB > 1'])
      expect(await said(nats.port, `${words}\r\nPING\r\n`)).toMatch(/^INFO [^\n]*\r\n-ERR 'Authorization Violation'\r\n$/);
    expect(await said(redis.port, 'KEYS *\r\nGET sy:entry:key/x\r\nCONFIG GET *\r\n')).toMatch(/^(-NOAUTH [^\n]*\r\n){3}$/);
  }, 60_000);

  /** Over TLS the probes and what says that a key is needed; in the clear nothing. */
  async function expectDoorsOfGateway(what: string): Promise<void> {
    const status = async (method: 'GET' | 'POST', path: string) => {
      const reply = await request(gateway() + path, { method, dispatcher: https, ...(method === 'POST' && { body: chat() }) });
      await reply.body.dump();
      return reply.statusCode;
    };
    for (const path of ['/v1/models', '/v1/models/x']) expect(await status('GET', path), what + path).toBe(401);
    for (const path of ['/v1/chat/completions', '/v1/completions']) expect(await status('POST', path), what + path).toBe(401);
    for (const path of ['/health', '/readiness', '/metrics']) expect(await status('GET', path), what + path).toBe(200);
    for (const path of ['/', '/operator/v1/status', '/debug', '/config']) expect(await status('GET', path), what + path).toBe(404);
    await expect(request(`${fleet.gatewayUrl}/health`), what).rejects.toThrow();
  }

  /** The operator API where it wants keys: not even its errors tell what there is, and a client's key opens nothing. */
  async function expectKeysOnly(port: number, what: string): Promise<void> {
    const status = async (method: 'GET' | 'POST' | 'DELETE', path: string, headers: Record<string, string> = {}) => {
      const body = method === 'POST' ? '{}' : undefined;
      const reply = await request(`http://127.0.0.1:${port}/operator/v1${path}`, {
        method,
        body,
        headers: { 'x-switchyard-operator': 'ann', ...headers },
      });
      await reply.body.dump();
      return reply.statusCode;
    };
    const reads = [
      '/status',
      '/services',
      '/scrape-targets',
      '/instances',
      '/requests',
      '/pools',
      '/migrations',
      '/explain/x',
      '/trace/x',
      '/audit',
      '/keys',
    ];
    for (const path of [...reads, '/workflows/x', '/approvals']) {
      expect(await status('GET', path), what + path).toBe(401);
      expect(await status('GET', path, { authorization: `Bearer ${secret}` }), what + path).toBe(403);
    }
    for (const path of ['/migrate', '/drain', '/undrain', '/scale', '/mode', '/keys', '/approvals/x/vote']) {
      expect(await status('POST', path), what + path).toBe(401);
      expect(await status('POST', path, { authorization: `Bearer ${secret}` }), what + path).toBe(403);
    }
    expect(await status('DELETE', '/keys/x'), what).toBe(401);
    expect(await status('GET', '/status', { authorization: `Bearer sk-sy-${'x'.repeat(40)}` }), what).toBe(401);
  }

  test('nobody was refused by mistake: no permission was missing for what the fleet did', async () => {
    for (const { id } of await processes()) expect(fleet.log(id), id).not.toMatch(/permissions? violation|NOPERM|bus subscription failed/i);
  });

  test('no word of a prompt or an answer is in logs, metrics or spans, whatever becomes of the request', async () => {
    const listening = await connectNats({ servers: fleet.servers.nats.address.replace('test:test@', ''), user: 'test', pass: 'test' });
    const heard: string[] = [];
    listening.subscribe('>', { callback: (_error, message) => void heard.push(Buffer.from(message.data).toString('latin1')) });
    await listening.flush();
    const outcomes = [
      await ask('/v1/completions', JSON.stringify({ model, prompt: `${canary} once`, max_tokens: 5 })),
      await ask('/v1/chat/completions', `{"model":"${model}","messages":[{"role":"user","content":"${canary}`),
      await ask('/v1/chat/completions', chat({ model: 'unknown-model' })),
      await ask('/v1/chat/completions', chat({ messages: canary })),
      await ask('/v1/chat/completions', chat({ max_tokens: -1 })),
      await ask('/v1/chat/completions', chat({ stop: [canary], tools: [{ type: 'function', function: { name: canary } }], user: canary })),
      await ask('/v1/chat/completions', chat(), { authorization: `Bearer sk-sy-${canary}` }),
    ];
    expect(outcomes.map(({ status }) => status)).toEqual([200, 400, 404, 400, 400, 200, 401]);
    // One that loses its instance.
    const streaming = ask('/v1/chat/completions', chat({ stream: true, max_tokens: 300 }));
    await eventually('the stream runs', 20_000, async () => {
      const rows = await fleet.requests();
      return { ok: rows.some((row) => row.state === 'streaming' && row.tokens > 5), seen: rows };
    });
    const [row] = await fleet.requests();
    await fleet.kill(`agent-${row!.instance}`);
    const { text } = await streaming;
    const answer = [...text.matchAll(/"content":"([^"]{12,})"/g)].map((match) => match[1]!)[0];
    await eventually('the spans have come', 10_000, () => ({
      ok: receiver.spans.some((span) => JSON.stringify(span).includes(row!.id)),
      seen: receiver.spans.length,
    }));

    const secrets = [canary, secret, ...(answer === undefined ? [] : [answer])];
    await listening.close();
    const seen: Record<string, string> = {
      spans: JSON.stringify(receiver.spans),
      'messages on NATS': heard.join('\n'),
      Redis: await everythingInRedis(),
    };
    for (const { id } of await processes()) seen[`the log of ${id}`] = fleet.log(id);
    for (const { targets } of await fleet.client('test').get<ScrapeTarget[]>('/scrape-targets'))
      for (const target of targets) seen[`/metrics of ${target}`] = await (await request(`http://${target}/metrics`)).body.text();
    for (const path of [`/trace/${row!.id}`, `/explain/${row!.id}`, '/audit', '/requests?all=true'])
      seen[path] = JSON.stringify(await fleet.client('test').get(path));
    for (const [where, text] of Object.entries(seen)) {
      expect(text.length, where).toBeGreaterThan(0);
      expect(
        secrets.filter((word) => text.includes(word)),
        where,
      ).toEqual([]);
    }
  }, 60_000);
});

/** TCP ports that a process listens on, from the kernel; or, where there is no /proc, from lsof. */
function listeningPorts(pid: number): number[] {
  return listening(pid).map((address) => Number(address.slice(address.lastIndexOf(':') + 1)));
}

/** Addresses that others than this machine reach. */
function boundBeyondLoopback(pid: number): string[] {
  const bound = listening(pid);
  expect(bound.length).toBeGreaterThan(0);
  return bound.filter((address) => !/^(127\.|\[?::1\]?:|\[?::ffff:127\.)/.test(address));
}

/** Address and port of everything that a process listens on. */
function listening(pid: number): string[] {
  try {
    const sockets = new Set(readdirSync(`/proc/${pid}/fd`).flatMap((fd) => inode(`/proc/${pid}/fd/${fd}`)));
    const rows = ['tcp', 'tcp6'].flatMap((table) => readFileSync(`/proc/${pid}/net/${table}`, 'utf8').trim().split('\n').slice(1));
    const open = rows.map((row) => row.trim().split(/\s+/)).filter((cells) => cells[3] === '0A' && sockets.has(cells[9]!));
    return open.map((cells) => readable(cells[1]!));
  } catch {
    const printed = execFileSync('lsof', ['-nP', '-a', '-p', String(pid), '-iTCP', '-sTCP:LISTEN', '-Fn'], { encoding: 'utf8' });
    return [...printed.matchAll(/^n(.*:\d+)$/gm)].map((match) => match[1]!);
  }
}

/** The kernel's form: words of four bytes, each the other way round, and the port, in hexadecimal. */
function readable(address: string): string {
  const [host = '', port = ''] = address.split(':');
  const bytes = Buffer.concat((host.match(/.{8}/g) ?? []).map((word) => Buffer.from(word, 'hex').reverse()));
  const v4 = bytes.length === 4 ? bytes : bytes.subarray(12);
  const mapped = bytes.length === 16 && bytes.subarray(0, 12).equals(Buffer.from('00000000000000000000ffff', 'hex'));
  const loopback6 = bytes.length === 16 && bytes.equals(Buffer.from('00000000000000000000000000000001', 'hex'));
  const text = bytes.length === 4 || mapped ? [...v4].join('.') : loopback6 ? '[::1]' : `[${bytes.toString('hex')}]`;
  return `${text}:${Number.parseInt(port, 16)}`;
}

function inode(path: string): string[] {
  try {
    return [/^socket:\[(\d+)\]$/.exec(readlinkSync(path))?.[1] ?? ''];
  } catch {
    return [];
  }
}

const tlsAlert = 0x15;

/** What comes back within a moment, without the alert by which TLS refuses. */
function said(port: number, words: string | Buffer, tls = false): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    const socket = tls ? dialTls({ port, host: '127.0.0.1', rejectUnauthorized: false }) : dial({ port, host: '127.0.0.1' });
    const finish = () => {
      clearTimeout(timer);
      socket.destroy();
      resolve(text.charCodeAt(0) === tlsAlert ? '' : text);
    };
    const timer = setTimeout(finish, 250);
    socket.on('error', finish);
    socket.on('close', finish);
    socket.on('data', (part: Buffer) => {
      text += part.toString('latin1');
    });
    socket.write(words);
  });
}

/** Health and metrics, and nothing else, whatever is asked. */
async function expectProbe(port: number, what: string): Promise<void> {
  const status = async (method: 'GET' | 'POST', path: string) => {
    const reply = await request(`http://127.0.0.1:${port}${path}`, { method });
    await reply.body.dump();
    return reply.statusCode;
  };
  expect([await status('GET', '/health'), await status('GET', '/metrics')], what).toEqual([200, 200]);
  for (const path of ['/', '/config', '/debug', '/v1/models', '/operator/v1/status', '/json', '/../package.json'])
    expect(await status('GET', path), what + path).toBe(404);
  expect(await status('POST', '/health'), what).toBeGreaterThanOrEqual(400);
}

/** A token link or a KV port: no frame comes back, in the clear or over TLS, with a certificate or without. */
async function expectSilence(port: number, what: string): Promise<void> {
  const hello = LinkFrame.encode({ hello: { id: 'gateway-1', protocol: 1 } });
  const framed = Buffer.concat([Buffer.from([0, 0, 0, hello.length]), hello]);
  for (const words of ['', 'GET / HTTP/1.1\r\nhost: x\r\n\r\n', framed, 'PING\r\n']) expect(await said(port, words), what).toBe('');
  expect(await said(port, framed, true), what).toMatch(/^(|HTTP\/1\.1 4\d\d [\s\S]*)$/);
  const opened = await new Promise<string>((resolve) => {
    const socket = new WebSocket(`wss://127.0.0.1:${port}`, { rejectUnauthorized: false });
    socket.on('open', () => resolve('opened'));
    socket.on('error', (error) => resolve(error.message));
  });
  expect(opened, what).not.toBe('opened');
}
