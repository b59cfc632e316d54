// Spans reach a tracing backend over HTTP, and its absence is said once.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test, vi } from 'vitest';
import { systemClock } from '../clock/system-clock.ts';
import { VirtualClock } from '../clock/virtual-clock.ts';
import type { Clock } from '../ports/clock.ts';
import { createOtelTelemetry } from './otel.ts';

async function backend(status: () => number, port = 0): Promise<{ url: string; bodies: { path: string; bytes: Buffer }[]; close(): void }> {
  const bodies: { path: string; bytes: Buffer }[] = [];
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    bodies.push({ path: request.url ?? '', bytes: Buffer.concat(parts) });
    response.writeHead(status(), { 'content-type': 'application/json' });
    response.end();
  }).listen(port, '127.0.0.1');
  await once(server, 'listening');
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, bodies, close: () => server.close() };
}

test.each([
  ['otlp', '/v1/traces'],
  ['zipkin', '/api/v2/spans'],
] as const)('%s: spans arrive with the service that made them', async (exporter, path) => {
  const server = await backend(() => 200);
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', server.url);
  vi.stubEnv('OTEL_RESOURCE_ATTRIBUTES', 'deployment.environment=blue,service.name=not-mine');
  vi.stubEnv('OTEL_EXPORTER_ZIPKIN_ENDPOINT', `${server.url}/api/v2/spans`);
  const telemetry = createOtelTelemetry({
    service: 'router',
    id: 'router-1',
    pid: 1,
    version: '0',
    clock: systemClock,
    exporter,
    writeLog: () => {},
  });
  telemetry.span('route.pick', { attributes: { 'switchyard.request.id': 'req-7' } }, () => {});
  await telemetry.shutdown();
  const received = server.bodies.find((body) => body.path === path);
  for (const text of ['route.pick', 'req-7', 'switchyard-router', 'blue']) expect(received?.bytes.includes(text)).toBe(true);
  expect(received?.bytes.includes('not-mine')).toBe(false);
  server.close();
  vi.unstubAllEnvs();
});

test('spans wait for a backend that is still starting', async () => {
  const probe = await backend(() => 202);
  probe.close();
  vi.stubEnv('OTEL_EXPORTER_ZIPKIN_ENDPOINT', `${probe.url}/api/v2/spans`);
  const lines: string[] = [];
  const clock = new VirtualClock();
  const telemetry = createOtelTelemetry({
    service: 'router',
    id: 'router-1',
    pid: 1,
    version: '0',
    clock,
    exporter: 'zipkin',
    writeLog: (line) => lines.push(line),
  });
  for (let index = 0; index < 512; index++) telemetry.start('x').end();
  await vi.waitFor(() => expect(clock.pending).toBe(1));
  const server = await backend(() => 202, Number(new URL(probe.url).port));
  await clock.advance(1000);
  await vi.waitFor(() => expect(server.bodies).toHaveLength(1));
  await telemetry.shutdown();
  expect(lines).toEqual([]);
  server.close();
  vi.unstubAllEnvs();
});

test('Zipkin takes times in whole microseconds', async () => {
  const server = await backend(() => 202);
  vi.stubEnv('OTEL_EXPORTER_ZIPKIN_ENDPOINT', `${server.url}/api/v2/spans`);
  let now = 1_795_273_609_123.25;
  const clock: Clock = {
    ...systemClock,
    now: () => {
      now += 0.0123;
      return now;
    },
  };
  const telemetry = createOtelTelemetry({ service: 'router', id: 'router-1', pid: 1, version: '0', clock, exporter: 'zipkin', writeLog: () => {} });
  for (let index = 0; index < 100; index++) telemetry.span('x', {}, (span) => span.event('y'));
  await telemetry.shutdown();
  const spans = JSON.parse(String(server.bodies[0]?.bytes)) as { timestamp: number; duration: number; annotations: { timestamp: number }[] }[];
  expect(spans).toHaveLength(100);
  for (const span of spans) expect([span.timestamp, span.duration, span.annotations[0]?.timestamp].every(Number.isSafeInteger)).toBe(true);
  server.close();
  vi.unstubAllEnvs();
});

test('a backend that refuses is said once, counted, and nothing else happens', async () => {
  const server = await backend(() => 400);
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', server.url);
  const lines: string[] = [];
  const telemetry = createOtelTelemetry({
    service: 'router',
    id: 'router-1',
    pid: 1,
    version: '0',
    clock: systemClock,
    exporter: 'otlp',
    writeLog: (line) => lines.push(line),
  });
  for (let index = 0; index < 600; index++) telemetry.start('x').end();
  await telemetry.shutdown();
  expect(lines.filter((line) => line.includes('spans cannot be exported'))).toHaveLength(1);
  expect(await telemetry.metricsText()).toContain('switchyard_spans_dropped_total 600');
  server.close();
  vi.unstubAllEnvs();
});

test('a trace that was not sampled is exported when it turns out to be worth it, before and after its spans end', async () => {
  const server = await backend(() => 200);
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', server.url);
  const telemetry = createOtelTelemetry({
    service: 'gateway',
    id: 'gateway-1',
    pid: 1,
    version: '0',
    clock: systemClock,
    exporter: 'otlp',
    sampleRatio: 0,
    writeLog: () => {},
  });
  const told: string[] = [];
  telemetry.kept?.tellOthers((traceIds) => told.push(...traceIds));
  telemetry.start('dull.request').end();
  const root = telemetry.start('kept.request');
  telemetry.start('early.child', { parent: root.context }).end();
  root.keep('failed');
  const late = telemetry.start('late.child', { parent: root.context });
  late.end();
  root.end();
  await telemetry.shutdown();
  const sent = Buffer.concat(server.bodies.map((body) => body.bytes)).toString('latin1');
  for (const name of ['kept.request', 'early.child', 'late.child']) expect(sent.split(name)).toHaveLength(2);
  expect(sent).not.toContain('dull.request');
  expect(told).toEqual([root.traceId]);
  server.close();
  vi.unstubAllEnvs();
});
