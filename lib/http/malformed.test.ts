// What clients get whose bytes are no request, or come too slowly, on real sockets.
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../clock/system-clock.ts';
import type { HttpServer } from '../ports/http.ts';
import { createMemoryTelemetry } from '../telemetry/memory-telemetry.ts';
import { createNodeHttp } from './node-http.ts';

const headersWithinMs = 300;
const requestWithinMs = 600;
let server: HttpServer;
let port: number;

beforeAll(async () => {
  const http = createNodeHttp({ clock: systemClock, telemetry: createMemoryTelemetry(systemClock), headersWithinMs, requestWithinMs });
  server = await http.serve({ host: '127.0.0.1', port: 0 }, async (request, response) => {
    if (request.path === '/stream') {
      response.head(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
      return;
    }
    const body = await request.body(1000).catch(() => new Uint8Array());
    response.head(200, {});
    response.end(String(body.length));
  });
  port = Number(new URL(server.address).port);
});
afterAll(() => server.close(0));

/** Sends the parts, a pause after each, and gives everything that comes until the connection is closed. */
async function say(parts: readonly (string | Uint8Array)[], pauseMs = 0): Promise<string> {
  const socket: Socket = connect({ port, host: '127.0.0.1' });
  let text = '';
  socket.on('data', (bytes) => {
    text += bytes.toString();
  });
  socket.on('error', () => {});
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  for (const part of parts) {
    if (socket.writable) socket.write(part);
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  await closed;
  return text;
}

function parsed(text: string): { status: number; headers: string; error: Record<string, unknown> } {
  const [head = '', body = ''] = text.split('\r\n\r\n');
  return { status: Number(head.split(' ')[1]), headers: head.toLowerCase(), error: (JSON.parse(body) as { error: Record<string, unknown> }).error };
}

const host = 'host: here\r\n';
const many = Array.from({ length: 3_000 }, (_, n) => `x-${n}: ${'v'.repeat(20)}\r\n`).join('');

describe('bytes that are no request get an error with a body, and the connection is closed', () => {
  test.each<[string, readonly (string | Uint8Array)[], number]>([
    ['another protocol', ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'], 400],
    ['a request line of nonsense', ['NONSENSE\r\n\r\n'], 400],
    ['an unknown version', [`GET / HTTP/9.9\r\n${host}\r\n`], 400],
    ['a method in small letters', [`get / HTTP/1.1\r\n${host}\r\n`], 400],
    ['a space in a header name', [`GET / HTTP/1.1\r\n${host}a b: c\r\n\r\n`], 400],
    ['bytes outside of a header value', [Buffer.from(`GET / HTTP/1.1\r\n${host}a: \x00\x01\r\n\r\n`, 'latin1')], 400],
    ['no host', ['GET / HTTP/1.1\r\n\r\n'], 400],
    ['two lengths', [`POST / HTTP/1.1\r\n${host}content-length: 1\r\ncontent-length: 2\r\n\r\nab`], 400],
    ['a length and chunks', [`POST / HTTP/1.1\r\n${host}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`], 400],
    ['a chunk of no size', [`POST / HTTP/1.1\r\n${host}transfer-encoding: chunked\r\n\r\nzz\r\nab\r\n`], 400],
    ['a tunnel', [`CONNECT there:443 HTTP/1.1\r\n${host}\r\n`], 405],
    ['an expectation', [`GET / HTTP/1.1\r\n${host}expect: miracles\r\n\r\n`], 417],
    ['too many headers', [`GET / HTTP/1.1\r\n${host}${many}\r\n`], 431],
    ['one header that is too large', [`GET / HTTP/1.1\r\n${host}a: ${'x'.repeat(100_000)}\r\n\r\n`], 431],
    ['a path that is too long', [`GET /${'x'.repeat(100_000)} HTTP/1.1\r\n${host}\r\n`], 431],
  ])('%s', async (_what, parts, status) => {
    const answer = parsed(await say(parts));
    expect(answer.status).toBe(status);
    expect(answer.headers).toContain('content-type: application/json');
    expect(answer.headers).toContain('connection: close');
    expect(Object.keys(answer.error).toSorted()).toEqual(['code', 'message', 'param', 'type']);
    expect(answer.error.type).toBe('invalid_request_error');
  });
});

describe('a request that does not arrive in time', () => {
  test('headers that trickle in', async () => {
    const started = performance.now();
    const answer = parsed(await say([`GET / HTTP/1.1\r\n${host}`, ...Array.from({ length: 20 }, (_, n) => `x-${n}: y\r\n`)], 100));
    expect(answer).toMatchObject({ status: 408, error: { code: 'timeout' } });
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  test('a body that trickles in', async () => {
    const answer = parsed(await say([`POST / HTTP/1.1\r\n${host}content-length: 100\r\n\r\n`, ...Array.from({ length: 20 }, () => 'x')], 100));
    expect(answer).toMatchObject({ status: 408, error: { code: 'timeout' } });
  });

  test('a connection on which nothing is said is closed', async () => {
    await say([]);
  });
});

test('nonsense behind a request that is being answered cuts the answer and adds nothing to it', async () => {
  const text = await say([`GET /stream HTTP/1.1\r\n${host}\r\n`, 'NONSENSE\r\n\r\n'], 100);
  expect(text).toContain('data: 1');
  expect(text).not.toContain('invalid_request');
});
