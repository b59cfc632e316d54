import { afterEach, expect, test } from 'vitest';
import { systemClock } from '../../clock/system-clock.ts';
import { VirtualClock } from '../../clock/virtual-clock.ts';
import { createOtelTelemetry } from '../otel.ts';
import { type Probe, type ProbeOptions, startProbe } from './probe.ts';

const telemetry = createOtelTelemetry({ service: 'router', id: 'router-1', pid: 1, version: '0', clock: systemClock, writeLog: () => {} });
const probes: Probe[] = [];
afterEach(async () => {
  for (const probe of probes.splice(0)) await probe.close();
});

async function start(options: Partial<ProbeOptions> = {}): Promise<Probe> {
  const probe = await startProbe({ host: '127.0.0.1', port: 0, clock: systemClock, telemetry, service: 'router', ready: () => true, ...options });
  probes.push(probe);
  return probe;
}

async function get(probe: Probe, path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(probe.address + path, { headers: { connection: 'close' } });
  return { status: response.status, text: await response.text() };
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 10));
}

test('says whether the service is ready, and why not', async () => {
  let ready: true | string = 'waiting for the fleet';
  const probe = await start({ ready: () => ready });
  await until(async () => (await get(probe, '/readiness')).text.includes('fleet'));
  expect(await get(probe, '/readiness')).toEqual({ status: 503, text: '{"status":"not ready","because":"waiting for the fleet"}' });
  ready = true;
  probe.update();
  await until(async () => (await get(probe, '/readiness')).status === 200);
  expect((await get(probe, '/health')).status).toBe(200);
  expect((await get(probe, '/elsewhere')).status).toBe(404);
});

test('serves the metrics of the process as they are when somebody asks', async () => {
  const probe = await start();
  telemetry.counter('switchyard_routing_decisions_total').add(3, { pool: 'chat', result: 'assigned' });
  const { text } = await get(probe, '/metrics');
  expect(text).toContain('switchyard_routing_decisions_total{pool="chat",result="assigned"} 3');
  expect(text).toMatch(/switchyard_heartbeat_age_seconds [\d.]+/);
  expect(text).toContain('process_cpu_seconds_total');
});

test('renders no metrics while nobody asks, and once for several who ask at the same time', async () => {
  let rendered = 0;
  const counting = { ...telemetry, metricsText: () => telemetry.metricsText().finally(() => rendered++) };
  const clock = new VirtualClock();
  await start({ telemetry: counting, clock });
  await clock.advance(60_000);
  expect(rendered).toBe(1);
  const probe = await start({ telemetry: counting });
  const texts = await Promise.all([1, 2, 3, 4].map(() => get(probe, '/metrics')));
  for (const { text } of texts) expect(Number(/switchyard_metrics_age_seconds ([\d.]+)/.exec(text)?.[1])).toBeLessThan(1);
  expect(rendered).toBeGreaterThan(2);
  expect(rendered).toBeLessThanOrEqual(2 + 4);
});

test('answers while the main loop is blocked, and notices that it is (real time)', async () => {
  const probe = await start({ unhealthyAfterMs: 200 });
  // The client must not need the blocked main loop either: it is a process of its own.
  const { spawn } = await import('node:child_process');
  const script = `
    const base = process.argv[1];
    const get = async (path) => { const r = await fetch(base + path); return { status: r.status, text: await r.text() }; };
    const readiness = await get('/readiness');
    let metrics = await get('/metrics');
    let health = await get('/health');
    for (let tries = 0; health.status === 200 && tries < 100; tries++) { await new Promise((r) => setTimeout(r, 10)); health = await get('/health'); }
    metrics = await get('/metrics');
    console.log(JSON.stringify({ readiness, metrics, health }));`;
  const client = spawn(process.execPath, ['--input-type=module', '-e', script, probe.address], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  client.stdout.on('data', (chunk) => {
    output += chunk;
  });
  const done = new Promise((resolve) => client.on('exit', resolve));
  await new Promise((resolve) => client.on('spawn', () => resolve(undefined)));
  const blockedUntil = performance.now() + 1200;
  while (performance.now() < blockedUntil);
  await done;
  const seen = JSON.parse(output);
  expect(seen.readiness.status).toBe(200);
  expect(seen.metrics.status).toBe(200);
  expect(seen.metrics.text).toContain('process_cpu_seconds_total');
  expect(Number(/switchyard_metrics_age_seconds ([\d.]+)/.exec(seen.metrics.text)?.[1])).toBeGreaterThan(0.2);
  expect(seen.health.status).toBe(503);
  expect(JSON.parse(seen.health.text).mainLoopSilentMs).toBeGreaterThanOrEqual(200);
});

test('a taken port is refused with its own code', async () => {
  const probe = await start();
  await expect(start({ port: Number(new URL(probe.address).port) })).rejects.toMatchObject({ code: 'port_taken' });
});
