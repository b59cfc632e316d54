// Spans reach a tracing backend over HTTP, and its absence is said once.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test, vi } from 'vitest';
import { systemClock } from '../clock/system-clock.ts';
import { createOtelTelemetry } from './otel.ts';

async function backend(status: () => number): Promise<{ url: string; bodies: { path: string; bytes: Buffer }[]; close(): void }> {
  const bodies: { path: string; bytes: Buffer }[] = [];
  const server = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    bodies.push({ path: request.url ?? '', bytes: Buffer.concat(parts) });
    response.writeHead(status(), { 'content-type': 'application/json' });
    response.end();
  }).listen(0, '127.0.0.1');
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
