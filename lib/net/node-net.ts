// The data plane's connections on real sockets: ws://host:port for the token link, tcp://host:port for KV transfer.
import type { Server as TcpServer } from 'node:net';
import { hostname } from 'node:os';
import type { WebSocketServer } from 'ws';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { Clock } from '../ports/clock.ts';
import type { Connection, Listener, Net } from '../ports/net.ts';
import { connectTcp, listenTcp, tcpConnection } from './tcp.ts';
import { connectWebSocket, listenWebSocket, webSocketConnection } from './websocket.ts';

export interface NodeNetOptions {
  /** The host in the addresses that listeners give out. Default: the one listened on, or the machine's name when that is a wildcard. */
  readonly advertiseHost?: string | undefined;
}

export function createNodeNet(clock: Clock, options: NodeNetOptions = {}): Net {
  return {
    async listen(kind, { host, port, maxFrameBytes }, onConnection): Promise<Listener> {
      const open = new Set<Connection>();
      const accept = (connection: Connection) => {
        open.add(connection);
        connection.onClose(() => open.delete(connection));
        onConnection(connection);
      };
      const server: TcpServer | WebSocketServer = await (kind === 'link'
        ? listenWebSocket({ host, port, maxFrameBytes }, (socket, tcp, remote) => accept(webSocketConnection(socket, tcp, remote, clock)))
        : listenTcp(host, port, (socket) => accept(tcpConnection(socket, maxFrameBytes, clock)))
      ).catch((thrown: NodeJS.ErrnoException) => {
        throw listenFailure(thrown, host, port);
      });
      const bound = server.address();
      const boundPort = bound !== null && typeof bound === 'object' ? bound.port : port;
      return {
        address: `${kind === 'link' ? 'ws' : 'tcp'}://${bracketed(options.advertiseHost ?? advertised(host))}:${boundPort}`,
        async close() {
          const closed = new Promise<void>((resolve) => server.close(() => resolve()));
          for (const connection of [...open]) connection.close();
          await closed;
        },
      };
    },

    async connect(address, { timeoutMs, maxFrameBytes }): Promise<Connection> {
      const timeout = new AbortController();
      const cancel = clock.after(timeoutMs, () => timeout.abort());
      try {
        const url = new URL(address);
        if (url.protocol === 'ws:') return await connectWebSocket(address, maxFrameBytes, clock, timeout.signal);
        if (url.protocol !== 'tcp:') throw new Error(`unknown scheme ${url.protocol}`);
        const host = url.hostname.replace(/^\[|\]$/g, '');
        return await connectTcp(host, Number(url.port), maxFrameBytes, clock, timeout.signal);
      } catch (thrown) {
        const why = timeout.signal.aborted ? `no answer within ${timeoutMs} ms` : thrown instanceof Error ? thrown.message : String(thrown);
        throw new SwitchyardError('unreachable', `cannot connect to ${address}: ${why}`, { cause: thrown });
      } finally {
        cancel();
      }
    },
  };
}

/** What to say when a server cannot listen. Other failures than a taken port are the caller's to explain. */
export function listenFailure(thrown: NodeJS.ErrnoException, host: string, port: number): Error {
  if (thrown.code === 'EADDRINUSE') {
    return new SwitchyardError('port_taken', `port ${port} on ${host} is in use by another process; stop it or choose another port`, {
      cause: thrown,
    });
  }
  if (thrown.code === 'EACCES') {
    return new SwitchyardError('port_taken', `port ${port} on ${host} may not be used by this user; choose one above 1023`, { cause: thrown });
  }
  return thrown;
}

/** A host that others can connect to, for one that is listened on. */
export function advertised(host: string): string {
  return host === '0.0.0.0' || host === '::' || host === '' ? hostname() : host;
}

/** An IPv6 address as it stands in a URL. */
export function bracketed(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
}
