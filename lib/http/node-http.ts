// HTTP servers on node:http. No fetch, no Request or Response objects, no stream pipelines: they cost more than the
// request itself (66-145 us against 25).
import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { advertised, bracketed, listenFailure } from '../net/node-net.ts';
import { serverTls } from '../net/tcp.ts';
import { readTls } from '../net/tls.ts';
import type { Clock } from '../ports/clock.ts';
import { sleep } from '../ports/clock.ts';
import type { Http, HttpHandler } from '../ports/http.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { failureBody } from './failure.ts';
import { NodeRequest } from './node-request.ts';
import { NodeResponse } from './node-response.ts';

export interface NodeHttpOptions {
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

/** Open connections; the server resets more. */
const maxConnections = 20_000;

export function createNodeHttp({ clock, telemetry }: NodeHttpOptions): Http {
  const failures = telemetry.counter('switchyard_http_handler_failures_total');
  const connections = telemetry.gauge('switchyard_http_connections');

  function handle(handler: HttpHandler, incoming: IncomingMessage, outgoing: ServerResponse, draining: () => boolean): void {
    const request = new NodeRequest(incoming, clock);
    const response = new NodeResponse(outgoing, draining);
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
  }

  return {
    async serve({ host, port, tls }, handler) {
      let draining = false;
      const options: ServerOptions = {
        // Longer than the idle time of usual load balancers, so that they close first and never meet a reset.
        keepAliveTimeout: 65_000,
        // Headers and body must have come by then; the response may take as long as it likes.
        headersTimeout: 20_000,
        requestTimeout: 120_000,
        maxHeaderSize: 32 * 1024,
        joinDuplicateHeaders: true,
        highWaterMark: 64 * 1024,
      };
      const material = tls && readTls('the HTTP server', tls);
      const server: Server = material ? createSecureServer({ ...options, ...serverTls(material) }) : createServer(options);
      server.maxConnections = maxConnections;
      server.on('request', (incoming, outgoing) => handle(handler, incoming, outgoing, () => draining));
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
    server.listen(port, host, () => {
      server.off('error', failed);
      resolve();
    });
  });
}
