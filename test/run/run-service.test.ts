// A service as a process, with real NATS and Redis: start, description, configuration, probes, drain, and every bad end.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { connectNatsBus } from '../../lib/bus/nats-bus.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { describeServices, findSpans, listPools } from '../../lib/contracts.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import { systemRng } from '../../lib/rng/system-rng.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { eventually } from '../support/eventually.ts';
import { startNats, startRedis, type TestServer } from '../support/servers.ts';

let nats: TestServer;
let redis: TestServer;
let bus: Bus;
let folder = '';
const children = new Set<ChildProcess>();

beforeAll(async () => {
  [nats, redis] = await Promise.all([startNats(), startRedis()]);
  folder = mkdtempSync(join(tmpdir(), 'switchyard-run-'));
  bus = await connectNatsBus({
    servers: nats.address,
    identity: 'test',
    clock: systemClock,
    rng: systemRng,
    telemetry: createMemoryTelemetry(systemClock),
  });
});
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
});
afterAll(async () => {
  await bus?.drain();
  await Promise.all([nats?.stop(), redis?.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

interface Started {
  readonly child: ChildProcess;
  /** Its log lines so far. */
  readonly logs: Record<string, unknown>[];
  stderr(): string;
  logged(message: string): Promise<Record<string, unknown>>;
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>;
}

function start(environment: Record<string, string> = {}): Started {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'fixture-service.ts')], {
    env: {
      ...process.env,
      NATS_URL: nats.address,
      REDIS_URL: redis.address,
      SWITCHYARD_CONFIG_DIR: folder,
      SWITCHYARD_ID: 'fixture-1',
      ...environment,
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  children.add(child);
  const logs: Record<string, unknown>[] = [];
  let rest = '';
  let stderr = '';
  child.stdout?.on('data', (chunk) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) logs.push(JSON.parse(line));
  });
  child.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', (code) => resolve(code)));
  return {
    child,
    logs,
    stderr: () => stderr,
    ended,
    async logged(message) {
      await eventually(`log line "${message}"`, 10_000, () => ({
        ok: logs.some((line) => line.message === message),
        seen: { logs: logs.slice(-5), stderr },
      }));
      return logs.find((line) => line.message === message)!;
    },
  };
}

test('starts, describes itself, keeps its spans, answers probes, and drains on SIGTERM', async () => {
  const one = start({ SWITCHYARD_ROUTER_GREETING: 'good day', SWITCHYARD_ROUTER_DRAIN_TAKES_MS: '50' });
  const ready = await one.logged('ready');
  expect(ready).toMatchObject({ level: 'info', service: 'router', id: 'fixture-1', pid: one.child.pid });
  expect(await one.logged('fixture')).toMatchObject({ greeting: 'good day' });

  const [info] = await bus.gather(describeServices, [], {}, { timeoutMs: 2000, expected: 1 });
  expect(info).toMatchObject({
    service: 'router',
    id: 'fixture-1',
    pid: one.child.pid,
    ready: true,
    notReadyBecause: '',
    owns: ['fixture/one@1'],
    version: '0.1.0',
  });

  await bus.request(listPools, [], {}, { timeoutMs: 2000 });
  const [reply] = await bus.gather(findSpans, [], { requestId: 'req-fixture', traceId: '' }, { timeoutMs: 2000, expected: 1 });
  expect(reply?.spans.find((span) => span.name === 'greet')).toMatchObject({ service: 'router', process: 'fixture-1', failed: false });

  const probe = String(ready.probe);
  await eventually('readiness of the probe', 2000, async () => {
    const { status } = await fetch(`${probe}/readiness`);
    return { ok: status === 200, seen: status };
  });
  expect((await fetch(`${probe}/health`)).status).toBe(200);
  expect(await (await fetch(`${probe}/metrics`)).text()).toContain('switchyard_heartbeat_age_seconds');

  one.child.kill('SIGTERM');
  expect(await one.ended).toBe(0);
  expect(one.logs.filter(({ level }) => level !== 'info')).toEqual([]);
  const ours = ['draining', 'fixture drained', 'stopped'];
  expect(one.logs.map((line) => line.message).filter((message) => ours.includes(String(message)))).toEqual(ours);
});

test('says why it is not ready, until it is', async () => {
  const one = start({ SWITCHYARD_ROUTER_READY_AFTER_MS: '400' });
  await eventually('not ready yet', 10_000, async () => {
    const [info] = await bus.gather(describeServices, [], {}, { timeoutMs: 200, expected: 1 });
    return { ok: info?.notReadyBecause === 'warming up' && !info.ready, seen: info };
  });
  await one.logged('ready');
});

test('takes a changed configuration, refuses a bad one', async () => {
  const file = join(folder, 'router.yaml');
  writeFileSync(file, 'greeting: first\n');
  const one = start();
  await one.logged('ready');
  writeFileSync(file, 'greeting: [1]\n');
  expect(await one.logged('changed configuration refused, the old one stays')).toMatchObject({ error: expect.stringContaining('router.yaml:1:11') });
  writeFileSync(file, 'greeting: second\n');
  expect(await one.logged('configuration taken')).toMatchObject({ settings: ['greeting'] });
  expect(one.logs.filter((line) => line.message === 'fixture').map((line) => line.greeting)).toEqual(['first', 'second']);
  rmSync(file);
});

test('a drain that does not end is given up, a second signal ends at once', async () => {
  const one = start({ SWITCHYARD_ROUTER_DRAIN_TAKES_MS: '60000', SWITCHYARD_DRAIN_MS: '100' });
  await one.logged('ready');
  one.child.kill('SIGTERM');
  await one.logged('draining');
  const at = performance.now();
  one.child.kill('SIGINT');
  expect(await one.ended).toBe(1);
  expect(performance.now() - at).toBeLessThan(2000);
  expect(one.logs.at(-1)).toMatchObject({ level: 'warn', message: 'asked to end a second time, ending at once' });
});

test('drains when the pipe from its supervisor closes', async () => {
  const one = start({ SWITCHYARD_PARENT_PIPE: 'stdin' });
  await one.logged('ready');
  one.child.stdin?.end();
  expect(await one.ended).toBe(0);
  expect(await one.logged('draining')).toMatchObject({ why: 'the supervisor is gone' });
});

test('waits for servers, says for which, and can be stopped meanwhile', async () => {
  const one = start({ NATS_URL: 'nats://127.0.0.1:1' });
  expect(await one.logged('bus not reachable, waiting for it')).toMatchObject({ level: 'warn', servers: 'nats://127.0.0.1:1' });
  one.child.kill('SIGTERM');
  expect(await one.ended).toBe(0);
});

test.each([
  [{ SWITCHYARD_ROUTER_FAILURE: 'start' }, 'the service could not start', 'cannot start'],
  [{ SWITCHYARD_ROUTER_FAILURE: 'rejection' }, 'failure that nobody handled, the process ends', 'nobody handles this'],
  [
    { SWITCHYARD_ROUTER_GREETING: 'far too long for a greeting' },
    'the service could not start',
    'SWITCHYARD_ROUTER_GREETING: "greeting" must be at most 20',
  ],
])('%j ends with 1 and says so', async (environment, message, cause) => {
  const one = start(environment);
  expect(await one.ended).toBe(1);
  const line = one.logs.find((entry) => entry.message === message);
  expect(line).toMatchObject({ level: 'error' });
  expect(JSON.stringify(line)).toContain(cause.replaceAll('"', '\\"'));
});

test('a wrong environment ends with 1 and names every wrong variable', async () => {
  const one = start({ SWITCHYARD_LOG_LEVEL: 'loud', SWITCHYARD_PROBE_PORT: '70000' });
  expect(await one.ended).toBe(1);
  expect(one.stderr()).toContain('"SWITCHYARD_LOG_LEVEL" must be one of debug, info, warn, error, not "loud"');
  expect(one.stderr()).toContain('"SWITCHYARD_PROBE_PORT" must be at most 65535');
});
