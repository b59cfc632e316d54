// What every Http must do: the twin and node:http. One small client per implementation hides how a reply is read.
import { once } from 'node:events';
import { request as nodeRequest } from 'node:http';
import { connect } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { createMemoryHttp } from '../../lib/http/memory-http.ts';
import { createNodeHttp } from '../../lib/http/node-http.ts';
import type { Http, HttpCall, HttpHandler, HttpResponse, HttpServer, RunningCall } from '../../lib/ports/http.ts';
import { createMemoryTelemetry, type MemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** The next piece of the body; undefined at its end. Rejects when it was cut. */
  next(): Promise<Uint8Array | undefined>;
  text(): Promise<string>;
  leave(): void;
}
interface Call {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Uint8Array | AsyncIterable<Uint8Array>;
  readonly signal?: AbortSignal;
}
type Client = (url: string, call?: Call) => Promise<Reply>;

interface Subject {
  readonly http: Http;
  readonly call: Client;
  readonly telemetry: MemoryTelemetry;
}

const subjects: [string, () => Subject][] = [
  [
    'memory',
    () => {
      const telemetry = createMemoryTelemetry(systemClock);
      const http = createMemoryHttp({ telemetry, clock: systemClock });
      const call: Client = async (url, options) => {
        const reply = await http.fetch(url, options);
        const chunks = reply.chunks()[Symbol.asyncIterator]();
        const next = async () => {
          const { value, done } = await chunks.next();
          if (!done) return value;
          if (!reply.complete) throw new Error('cut');
          return undefined;
        };
        return { status: reply.status, headers: reply.headers, next, text: () => readAll(next), leave: () => reply.leave() };
      };
      return { http, call, telemetry };
    },
  ],
  [
    'node',
    () => {
      const telemetry = createMemoryTelemetry(systemClock);
      return { http: createNodeHttp({ clock: systemClock, telemetry }), call: callNode, telemetry };
    },
  ],
];

async function readAll(next: () => Promise<Uint8Array | undefined>): Promise<string> {
  const parts: Uint8Array[] = [];
  for (let part = await next(); part; part = await next()) parts.push(part);
  return Buffer.concat(parts).toString();
}

async function callNode(url: string, call: Call = {}): Promise<Reply> {
  const method = call.method ?? (call.body === undefined ? 'GET' : 'POST');
  const request = nodeRequest(url, { method, headers: call.headers, signal: call.signal, agent: false });
  const answered = once(request, 'response');
  answered.catch(() => {});
  request.on('error', () => {});
  if (call.body === undefined || typeof call.body === 'string' || call.body instanceof Uint8Array) request.end(call.body);
  else {
    void (async () => {
      for await (const part of call.body as AsyncIterable<Uint8Array>) request.write(part);
      request.end();
    })();
  }
  const [response] = await answered;
  response.on('error', () => {});
  const chunks = response[Symbol.asyncIterator]();
  const next = async (): Promise<Uint8Array | undefined> => {
    const { value, done } = await chunks.next();
    return done ? undefined : value;
  };
  return { status: response.statusCode, headers: response.headers, next, text: () => readAll(next), leave: () => request.destroy() };
}

const bytes = (size: number) => new Uint8Array(size).fill(120);

/** A call of this side, with what it hears. */
class Heard {
  status = 0;
  headers: Readonly<Record<string, string | undefined>> = {};
  body = '';
  readonly end = Promise.withResolvers<string>();
  readonly running: RunningCall;

  constructor(http: Http, url: string, call: Partial<HttpCall> = {}) {
    this.running = http.call({
      ...{ method: 'GET', url, headers: {} },
      onHead: (status, headers) => Object.assign(this, { status, headers }),
      onData: (bytes) => {
        this.body += Buffer.from(bytes).toString();
      },
      onEnd: () => this.end.resolve('whole'),
      onFailed: (why) => this.end.resolve(why.code),
      ...call,
    });
  }
}

describe.each(subjects)('http: %s', (_name, make) => {
  const servers: HttpServer[] = [];
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.close(0);
  });

  async function serve(handler: HttpHandler): Promise<Subject & { address: string; server: HttpServer }> {
    const subject = make();
    const server = await subject.http.serve({ host: '127.0.0.1', port: 0 }, handler);
    servers.push(server);
    return { ...subject, address: server.address, server };
  }

  describe('a call', () => {
    test('brings method, path, headers and body, and tells status, headers and body of the answer', async () => {
      const { http, address } = await serve(async (request, response) => {
        const body = Buffer.from(await request.body(1000)).toString();
        response.head(404, { 'X-Kind': 'echo' });
        response.write(`${request.method} ${request.path}?${request.query} `);
        response.end(`${request.headers['x-key']} ${body}`);
      });
      const heard = new Heard(http, `${address}/a/b?c=1`, { method: 'POST', headers: { 'x-key': 'k' }, body: Buffer.from('{}') });
      expect(await heard.end.promise).toBe('whole');
      expect([heard.status, heard.headers['x-kind'], heard.body]).toEqual([404, 'echo', 'POST /a/b?c=1 k {}']);
    });

    test('to nobody fails', async () => {
      const { http, address, server } = await serve(() => {});
      await server.close(0);
      expect(await new Heard(http, `${address}/`).end.promise).toBe('unreachable');
    });

    test('whose answer is cut fails', async () => {
      const { http, address, server } = await serve((_request, response) => {
        response.head(200, {});
        response.write('half');
      });
      const heard = new Heard(http, `${address}/`);
      await vi.waitUntil(() => heard.body === 'half');
      await server.close(0);
      expect(await heard.end.promise).toBe('unreachable');
    });

    test('that is aborted is noticed by the server, and hears nothing more', async () => {
      const left = Promise.withResolvers<void>();
      const { http, address } = await serve((_request, response) => {
        response.onClientLeft(() => left.resolve());
        response.head(200, {});
        response.write('half');
      });
      const heard = new Heard(http, `${address}/`);
      const told: string[] = [];
      void heard.end.promise.then((how) => told.push(how));
      await vi.waitUntil(() => heard.body === 'half');
      heard.running.abort();
      await left.promise;
      expect(told).toEqual([]);
    });

    test('that is paused leaves the body with the server until it is resumed', async () => {
      let response: HttpResponse | undefined;
      const { http, address } = await serve((_request, given) => {
        response = given;
        given.head(200, {});
        given.write('a');
      });
      const heard = new Heard(http, `${address}/`);
      await vi.waitUntil(() => heard.body === 'a');
      heard.running.pause();
      let sent = 0;
      for (let took = true; took && sent < 64_000_000; sent += 1_000_000) took = response!.write(bytes(1_000_000));
      expect(heard.body.length).toBeLessThan(sent);
      response!.end();
      heard.running.resume();
      expect(await heard.end.promise).toBe('whole');
      expect(heard.body).toHaveLength(sent + 1);
    });
  });

  test('a handler sees method, path, query, headers and the bytes of the body', async () => {
    const { call, address } = await serve(async (request, response) => {
      const body = await request.body(1000);
      response.head(200, { 'content-type': 'application/json', 'X-Kind': 'echo' });
      const { method, path } = request;
      response.end(
        JSON.stringify({ method, path, b: request.query.get('b'), key: request.headers['x-key'], body: Buffer.from(body).toString('hex') }),
      );
    });
    const reply = await call(`${address}/v1/models/a%2Fb?b=1%202&c=`, { headers: { 'X-Key': 'k1' }, body: Uint8Array.of(0, 255, 10) });
    expect(reply.status).toBe(200);
    expect(reply.headers['x-kind']).toBe('echo');
    expect(JSON.parse(await reply.text())).toEqual({ method: 'POST', path: '/v1/models/a%2Fb', b: '1 2', key: 'k1', body: '00ff0a' });
  });

  test('a request without a body has an empty one', async () => {
    const { call, address } = await serve(async (request, response) => {
      response.head(200, {});
      response.end(`${request.method} ${(await request.body(0)).length}`);
    });
    expect(await (await call(`${address}/`)).text()).toBe('GET 0');
  });

  test('a body above the limit is refused and the client can read the answer', async () => {
    const { call, address } = await serve(async (request, response) => {
      const code = await request.body(1000).then(
        () => 'taken',
        (thrown) => thrown.code,
      );
      response.head(413, {});
      response.end(code);
    });
    async function* pieces() {
      for (let piece = 0; piece < 3; piece++) yield bytes(400);
    }
    for (const body of [bytes(1001), pieces()]) {
      const reply = await call(`${address}/`, { body });
      expect(reply.status).toBe(413);
      expect(await reply.text()).toBe('body_too_large');
    }
    expect(await (await call(`${address}/`, { body: bytes(1000) })).text()).toBe('taken');
  });

  test('a client that leaves in the middle of its body rejects the body', async () => {
    const seen = Promise.withResolvers<string>();
    const begun = Promise.withResolvers<void>();
    const { call, address } = await serve(async (request) => {
      begun.resolve();
      await request.body(1000).catch((thrown) => seen.resolve(thrown.code));
    });
    const leave = new AbortController();
    async function* pieces() {
      yield bytes(10);
      await new Promise(() => {});
    }
    const reply = call(`${address}/`, { body: pieces(), signal: leave.signal });
    reply.catch(() => {});
    await begun.promise;
    leave.abort();
    expect(await seen.promise).toBe('client_left');
    await expect(reply).rejects.toThrow();
  });

  test('a streamed response arrives piece by piece', async () => {
    const go = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
    const { call, address } = await serve(async (_request, response) => {
      response.head(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
      await go[0].promise;
      response.write(new TextEncoder().encode('data: 2\n\n'));
      await go[1].promise;
      response.end();
    });
    const reply = await call(`${address}/`);
    expect(Buffer.from((await reply.next())!).toString()).toBe('data: 1\n\n');
    go[0].resolve();
    expect(Buffer.from((await reply.next())!).toString()).toBe('data: 2\n\n');
    go[1].resolve();
    expect(await reply.next()).toBeUndefined();
  });

  test('a head without a body is seen at once', async () => {
    const responses: HttpResponse[] = [];
    const { call, address } = await serve((_request, response) => {
      response.head(202, {});
      responses.push(response);
    });
    const reply = await call(`${address}/`);
    expect(reply.status).toBe(202);
    responses[0]!.end('late');
    expect(await reply.text()).toBe('late');
  });

  test('the order head, body, end is enforced', async () => {
    const thrown: unknown[] = [];
    const attempt = (run: () => void) => {
      try {
        run();
      } catch (error) {
        thrown.push(error);
      }
    };
    const { call, address } = await serve((_request, response) => {
      attempt(() => response.write('x'));
      attempt(() => response.end());
      response.head(200, {});
      attempt(() => response.head(200, {}));
      expect(response.headSent).toBe(true);
      response.end('ok');
      response.write('after the end');
      response.end('again');
    });
    expect(await (await call(`${address}/`)).text()).toBe('ok');
    expect(thrown).toHaveLength(3);
  });

  test('a slow client is back-pressure, and onDrain says when to go on', async () => {
    let drains = 0;
    const full = Promise.withResolvers<HttpResponse>();
    const total = 16 * 1024 * 1024;
    const { call, address } = await serve((_request, response) => {
      response.head(200, {});
      let sent = 0;
      const go = () => {
        while (sent < total) {
          sent += 65_536;
          if (!response.write(bytes(65_536))) {
            full.resolve(response);
            response.onDrain(() => {
              drains++;
              go();
            });
            return;
          }
        }
        response.end();
      };
      go();
    });
    const reply = await call(`${address}/`);
    expect((await full.promise).buffered()).toBeGreaterThan(0);
    expect((await reply.text()).length).toBe(total);
    expect(drains).toBeGreaterThan(0);
  });

  test('a client that leaves is noticed within 100 ms, streaming or waiting (real time)', async () => {
    for (const streaming of [true, false]) {
      const left = Promise.withResolvers<number>();
      const begun = Promise.withResolvers<HttpResponse>();
      const { call, address } = await serve((_request, response) => {
        let calls = 0;
        response.onClientLeft(() => {
          calls++;
          left.resolve(calls);
        });
        if (streaming) {
          response.head(200, {});
          response.write('first');
        }
        begun.resolve(response);
      });
      const leave = new AbortController();
      const reply = call(`${address}/`, { signal: leave.signal });
      reply.catch(() => {});
      const response = await begun.promise;
      if (streaming) await (await reply).next();
      const at = performance.now();
      leave.abort();
      expect(await left.promise).toBe(1);
      expect(performance.now() - at).toBeLessThan(100);
      // What the handler still does is harmless.
      if (!response.headSent) response.head(200, {});
      response.write('nobody reads this');
      response.end();
      await new Promise<void>((resolve) => response.onDrain(resolve));
      await new Promise<void>((resolve) => (streaming ? resolve() : response.onClientLeft(resolve)));
      expect(response.buffered()).toBe(0);
    }
  });

  test('a client is not said to have left after a complete response', async () => {
    let left = 0;
    const { call, address } = await serve((_request, response) => {
      response.onClientLeft(() => left++);
      response.head(200, {});
      response.end('done');
    });
    const reply = await call(`${address}/`);
    await reply.text();
    reply.leave();
    await (await call(`${address}/`)).text();
    expect(left).toBe(0);
  });

  test('a handler that throws or rejects becomes a 500 with an error body, and is counted', async () => {
    const { call, address, telemetry } = await serve((request) => {
      if (request.path === '/throws') throw new Error('secret');
      return Promise.reject(new Error('secret'));
    });
    for (const path of ['/throws', '/rejects']) {
      const reply = await call(`${address}${path}`);
      expect(reply.status).toBe(500);
      const body = await reply.text();
      expect(JSON.parse(body).error).toMatchObject({ type: 'server_error', param: null, code: 'internal' });
      expect(body).not.toContain('secret');
    }
    expect(telemetry.value('switchyard_http_handler_failures_total')).toBe(2);
    expect(telemetry.logs.filter((log) => log.level === 'error')).toHaveLength(2);
  });

  test('a handler that fails after the head cuts the response, it never ends it cleanly', async () => {
    const { call, address } = await serve(async (_request, response) => {
      response.head(200, {});
      response.write('half');
      await new Promise((resolve) => setTimeout(resolve, 5));
      throw new Error('broken');
    });
    const reply = await call(`${address}/`);
    await expect(readAll(reply.next)).rejects.toThrow();
  });

  test('close lets running responses end, refuses new ones, and cuts what is left', async () => {
    const responses: HttpResponse[] = [];
    const { call, address, server } = await serve((_request, response) => {
      response.head(200, {});
      response.write('first ');
      responses.push(response);
    });
    const ends = await call(`${address}/`);
    const endsText = ends.text();
    const stays = await call(`${address}/`);
    const cut = new Promise<void>((resolve) => responses[1]!.onClientLeft(resolve));
    const closing = server.close(300);
    await expect(call(`${address}/`)).rejects.toThrow();
    responses[0]!.end('last');
    expect(await endsText).toBe('first last');
    await closing;
    await expect(readAll(stays.next)).rejects.toThrow();
    await cut;
  });

  test('a taken port is refused with its own code', async () => {
    const { http, address } = await serve(() => {});
    await expect(http.serve({ host: '127.0.0.1', port: Number(new URL(address).port) }, () => {})).rejects.toMatchObject({ code: 'port_taken' });
  });
});

describe('node:http', () => {
  async function serveNode(handler: HttpHandler): Promise<HttpServer> {
    const telemetry = createMemoryTelemetry(systemClock);
    return createNodeHttp({ clock: systemClock, telemetry }).serve({ host: '127.0.0.1', port: 0 }, handler);
  }

  test('a body in one piece has a content-length, a streamed one does not', async () => {
    const server = await serveNode((request, response) => {
      response.head(request.path === '/empty' ? 204 : 200, {});
      if (request.path === '/streamed') response.write('ä');
      if (request.path === '/empty') response.end();
      else response.end('ä');
    });
    expect((await callNode(`${server.address}/whole`)).headers['content-length']).toBe('2');
    expect((await callNode(`${server.address}/streamed`)).headers['content-length']).toBeUndefined();
    expect((await callNode(`${server.address}/empty`)).headers['content-length']).toBeUndefined();
    await server.close(0);
  });

  test('a streamed body is chunked exactly, one after the other on one connection; HTTP/1.0 and HEAD get none of it', async () => {
    const server = await serveNode((_request, response) => {
      response.head(200, {});
      response.write('ä');
      response.write(bytes(300));
      response.end('last');
    });
    const port = Number(new URL(server.address).port);
    async function raw(...requests: string[]): Promise<string[]> {
      const socket = connect(port, '127.0.0.1');
      for (const [at, request] of requests.entries())
        socket.write(`${request}\r\nhost: h\r\n${at === requests.length - 1 ? 'connection: close\r\n' : ''}\r\n`);
      let text = '';
      socket.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
      await once(socket, 'close');
      return text.split(/HTTP\/1\.1 200 OK.*?\r\n\r\n/s).slice(1);
    }
    const body = `2\r\nä\r\n12c\r\n${'x'.repeat(300)}\r\n4\r\nlast\r\n0\r\n\r\n`;
    expect(await raw('GET / HTTP/1.1', 'GET / HTTP/1.1')).toEqual([body, body]);
    expect(await raw('GET / HTTP/1.0')).toEqual([`ä${'x'.repeat(300)}last`]);
    expect(await raw('HEAD / HTTP/1.1')).toEqual(['']);
    await server.close(0);
  });

  test('durations are measured by method, route and status, with few values of each', async () => {
    const telemetry = createMemoryTelemetry(systemClock);
    const http = createNodeHttp({ clock: systemClock, telemetry });
    const routeOf = (path: string) => (path.startsWith('/models/') ? '/models/{id}' : '');
    const arrived = Promise.withResolvers<void>();
    const left = Promise.withResolvers<void>();
    const server = await http.serve({ host: '127.0.0.1', port: 0, routeOf }, (request, response) => {
      if (request.path === '/models/never') {
        response.onClientLeft(left.resolve);
        arrived.resolve();
        return;
      }
      response.head(request.path === '/models/a' ? 200 : 404, {});
      response.end('x');
    });
    await callNode(`${server.address}/models/a`);
    await callNode(`${server.address}/models/b?x=1`, { method: 'PROPFIND' });
    await callNode(`${server.address}/etc/passwd`);
    const leaving = new AbortController();
    const never = callNode(`${server.address}/models/never`, { signal: leaving.signal }).catch(() => 'left');
    await arrived.promise;
    leaving.abort();
    expect(await never).toBe('left');
    await left.promise;
    await server.close(100);
    const seen = [...telemetry.observations.keys()].filter((key) => key.startsWith('http_server_request_duration_seconds')).toSorted();
    const labels = (method: string, status: string, route: string) =>
      `http_server_request_duration_seconds{http_request_method="${method}",http_response_status_code="${status}",http_route="${route}"}`;
    expect(seen).toEqual(
      [
        labels('GET', '200', '/models/{id}'),
        labels('_OTHER', '404', '/models/{id}'),
        labels('GET', '404', ''),
        labels('GET', '', '/models/{id}'),
      ].toSorted(),
    );
  });

  test('repeated headers are joined, the absolute form of a target is understood', async () => {
    const server = await serveNode((request, response) => {
      response.head(200, {});
      response.end(`${request.path} ${request.headers['x-two']}`);
    });
    const socket = connect(Number(new URL(server.address).port), '127.0.0.1');
    socket.write('GET http://somewhere/v1/models?x=1 HTTP/1.1\r\nhost: h\r\nx-two: 1\r\nx-two: 2\r\nconnection: close\r\n\r\n');
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk;
    });
    await once(socket, 'close');
    expect(text).toContain('/v1/models 1, 2');
    await server.close(0);
  });

  test('while draining, answers tell the client not to come back on this connection', async () => {
    const gate = Promise.withResolvers<void>();
    const server = await serveNode(async (_request, response) => {
      await gate.promise;
      response.head(200, {});
      response.end('x');
    });
    const reply = callNode(`${server.address}/`, { headers: { connection: 'keep-alive' } });
    reply.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 20));
    const closing = server.close(1000);
    gate.resolve();
    expect((await reply).headers.connection).toBe('close');
    await closing;
  });
});
