// HTTP servers on node:http; calls to servers elsewhere are in node-client.ts. No fetch, no Request or Response objects, no stream pipelines: they cost more than the
// request itself (66-145 us against 25).
import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Duplex } from 'node:stream';
import { advertised, bracketed, listenFailure } from '../net/node-net.ts';
import { serverTls } from '../net/tcp.ts';
import { readTls } from '../net/tls.ts';
import type { Clock } from '../ports/clock.ts';
import { sleep } from '../ports/clock.ts';
import type { Http, HttpHandler } from '../ports/http.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { failureBody } from './failure.ts';
import { answerBare, type Malformed, malformedBody, malformedBy, noHost, noTunnel, unmetExpectation } from './malformed.ts';
import { createNodeClient } from './node-client.ts';
import { NodeRequest } from './node-request.ts';
import { NodeResponse } from './node-response.ts';

export interface NodeHttpOptions {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** From the first byte until the headers are here. Default 20,000. */
  readonly headersWithinMs?: number;
  /** From the first byte until the body is here. Default 120,000. */
  readonly requestWithinMs?: number;
}

/** As a metric names them: any word can come as a method. */
const knownMethods: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT', 'TRACE']);

interface Serving {
  readonly handler: HttpHandler;
  readonly routeOf: (path: string) => string;
  readonly draining: () => boolean;
}

/** Open connections; the server resets more. */
const maxConnections = 20_000;
/** Connections that wait to be taken, as many as Linux allows: thousands that come within a second are not told to try later. */
const backlog = 4_096;

export function createNodeHttp(options: NodeHttpOptions): Http {
  const { clock, telemetry, headersWithinMs = 20_000, requestWithinMs = 120_000 } = options;
  const failures = telemetry.counter('switchyard_http_handler_failures_total');
  const connections = telemetry.gauge('switchyard_http_connections');
  const durations = telemetry.histogram('http_server_request_duration_seconds');

  /** Refuses a request before its handler: what is left of it is not read. */
  function refuse(outgoing: ServerResponse, malformed: Malformed): void {
    const body = malformedBody(malformed);
    outgoing.writeHead(malformed.status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), connection: 'close' });
    outgoing.end(body);
  }

  function handle({ handler, routeOf, draining }: Serving, incoming: IncomingMessage, outgoing: ServerResponse): NodeResponse {
    const startMs = clock.now();
    const request = new NodeRequest(incoming, clock);
    const response = new NodeResponse(outgoing, draining, () => {
      durations.observe((clock.now() - startMs) / 1000, {
        http_request_method: knownMethods.has(request.method) ? request.method : '_OTHER',
        http_route: routeOf(request.path),
        http_response_status_code: outgoing.headersSent ? String(outgoing.statusCode) : '',
      });
    });
    const failed = (thrown: unknown) => {
      failures.add(1);
      telemetry.log.error('http handler failed', {
        path: request.path,
        error: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown),
      });
      if (response.headSent) outgoing.destroy();
      else {
        response.head(500, { 'content-type': 'application/json' });
        response.end(failureBody);
      }
    };
    try {
      handler(request, response)?.catch(failed);
    } catch (thrown) {
      failed(thrown);
    }
    return response;
  }

  return {
    call: createNodeClient(),

    async serve({ host, port, tls, routeOf = () => '' }, handler) {
      let draining = false;
      const serving: Serving = { handler, routeOf, draining: () => draining };
      const settings: ServerOptions = {
        // Longer than the idle time of usual load balancers, so that they close first and never meet a reset.
        keepAliveTimeout: 65_000,
        // Headers and body must have come by then; the response may take as long as it likes.
        headersTimeout: headersWithinMs,
        requestTimeout: requestWithinMs,
        connectionsCheckingInterval: 1_000,
        requireHostHeader: false,
        maxHeaderSize: 32 * 1024,
        joinDuplicateHeaders: true,
        highWaterMark: 64 * 1024,
      };
      const material = tls && readTls('the HTTP server', tls);
      const server: Server = material ? createSecureServer({ ...settings, ...serverTls(material) }) : createServer(settings);
      server.maxConnections = maxConnections;
      /** The newest response on each connection. */
      const responses = new WeakMap<Duplex, NodeResponse>();
      server.on('request', (incoming, outgoing) => {
        if (incoming.httpVersion === '1.1' && incoming.headers.host === undefined) return refuse(outgoing, noHost);
        responses.set(incoming.socket, handle(serving, incoming, outgoing));
      });
      server.on('checkExpectation', (_incoming, outgoing) => refuse(outgoing, unmetExpectation));
      server.on('connect', (_incoming, socket) => answerBare(socket, noTunnel, false, clock));
      const given = new WeakSet<Duplex>();
      server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
        if (given.has(socket)) return;
        given.add(socket);
        const newest = responses.get(socket);
        answerBare(socket, malformedBy(error), newest?.headSent === true && !newest.over, clock);
      });
      let open = 0;
      server.on('connection', (socket) => {
        connections.set(++open);
        socket.on('close', () => connections.set(--open));
      });
      await listen(server, host, port);
      const bound = server.address();
      const boundPort = bound !== null && typeof bound === 'object' ? bound.port : port;
      return {
        address: `${material ? 'https' : 'http'}://${bracketed(advertised(host))}:${boundPort}`,
        async close(withinMs) {
          if (draining) return;
          draining = true;
          const closed = new Promise<void>((resolve) => server.close(() => resolve()));
          const stop = new AbortController();
          await Promise.race([closed, sleep(clock, withinMs, stop.signal)]);
          stop.abort();
          server.closeAllConnections();
          await closed;
        },
      };
    },
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (thrown: NodeJS.ErrnoException) => reject(listenFailure(thrown, host, port));
    server.once('error', failed);
    server.listen({ port, host, backlog }, () => {
      server.off('error', failed);
      resolve();
    });
  });
}
