// The data plane's connections on real sockets: ws://host:port for the token link, tcp://host:port for KV transfer; over TLS
// wss:// and tls://.
import type { Server, Socket } from 'node:net';
import { hostname } from 'node:os';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { Clock } from '../ports/clock.ts';
import type { Connection, LinkKind, Listener, Net } from '../ports/net.ts';
import { systemRng } from '../rng/system-rng.ts';
import { createDoor, type Door } from './door.ts';
import { createLinkProof, type LinkProof, maxProofBytes } from './link-proof.ts';
import type { LinkSecrets } from './link-secrets.ts';
import { isLoopback } from './loopback.ts';
import { connectTcp, listenTcp, tcpConnection } from './tcp.ts';
import type { TlsMaterial } from './tls.ts';
import { connectWebSocket, listenWebSocket, webSocketConnection } from './websocket.ts';

export interface NodeNetOptions {
  /** The host in the addresses that listeners give out. Default: the one listened on, or the machine's name when that is a wildcard. */
  readonly advertiseHost?: string | undefined;
  /** Both ends prove that they know them; see link-proof.ts. Absent: everybody is let in, and only loopback is listened on. */
  readonly secrets?: LinkSecrets | undefined;
  /** With a certificate listeners are over TLS; its authorities are trusted for the other ends. */
  readonly tls?: TlsMaterial | undefined;
  /** Whoever connects has to prove itself within this. Default 3,000. */
  readonly proofWithinMs?: number;
  /** Somebody was not let in. */
  readonly refused?: (remote: string, why: string) => void;
}

export function createNodeNet(clock: Clock, options: NodeNetOptions = {}): Net {
  const { tls, proofWithinMs = 3_000, refused = () => {} } = options;
  const proof = options.secrets && createLinkProof(options.secrets, clock, systemRng);
  const overTls = tls?.cert !== undefined;

  function admit(kind: LinkKind, token: string, remote: string): string | undefined {
    const checked = proof!.check(kind, token);
    if ('answer' in checked) return checked.answer;
    refused(remote, checked.why);
    return undefined;
  }

  /** Sockets that have connected to a KV listener become connections, once they have proved themselves. */
  function takeKv(socket: Socket, maxFrameBytes: number, door: Door, accept: (connection: Connection) => void): void {
    if (!proof) {
      door.letIn(socket);
      accept(tcpConnection(socket, maxFrameBytes, clock));
      return;
    }
    const connection = tcpConnection(socket, maxFrameBytes, clock, {
      maxBytes: maxProofBytes,
      open(frame) {
        const answer = admit('kv', Buffer.from(frame).toString('latin1'), `${socket.remoteAddress}:${socket.remotePort}`);
        if (answer === undefined) return false;
        door.letIn(socket);
        connection.send(Buffer.from(answer, 'latin1'));
        accept(connection);
        return true;
      },
    });
  }

  function requirePrivate(host: string): void {
    if (proof || tls?.ca || isLoopback(host)) return;
    throw new SwitchyardError(
      'invalid_config',
      `listening on ${host} for other machines needs SWITCHYARD_FLEET_SECRET: without it anybody could send prompts and KV blocks`,
    );
  }

  return {
    async listen(kind, { host, port, maxFrameBytes }, onConnection): Promise<Listener> {
      requirePrivate(host);
      const open = new Set<Connection>();
      const accept = (connection: Connection) => {
        open.add(connection);
        connection.onClose(() => open.delete(connection));
        onConnection(connection);
      };
      const door = createDoor(clock, proofWithinMs);
      const server: Server = await (kind === 'link'
        ? listenWebSocket(
            { host, port, maxFrameBytes, tls, door, admit: proof && ((token, remote) => admit('link', token, remote)) },
            (socket, tcp, remote) => accept(webSocketConnection(socket, tcp, remote, clock)),
          )
        : listenTcp({ host, port, tls, door }, (socket) => takeKv(socket, maxFrameBytes, door, accept))
      ).catch((thrown: NodeJS.ErrnoException) => {
        throw listenFailure(thrown, host, port);
      });
      const bound = server.address();
      const boundPort = bound !== null && typeof bound === 'object' ? bound.port : port;
      return {
        address: `${schemes[kind][overTls ? 'secure' : 'plain']}//${bracketed(options.advertiseHost ?? advertised(host))}:${boundPort}`,
        async close() {
          const closed = new Promise<void>((resolve) => server.close(() => resolve()));
          door.close();
          for (const connection of [...open]) connection.close();
          await closed;
        },
      };
    },

    async connect(address, { timeoutMs, maxFrameBytes, instanceId }): Promise<Connection> {
      const timeout = new AbortController();
      const cancel = clock.after(timeoutMs, () => timeout.abort());
      try {
        const url = new URL(address);
        if (url.protocol === schemes.link.plain || url.protocol === schemes.link.secure) {
          const token = proof?.token('link', instanceId);
          const shown = proof && token !== undefined ? { token, isAnswer: (answer: string) => proof.isAnswer('link', token, answer) } : undefined;
          return await connectWebSocket(address, { maxFrameBytes, clock, tls, proof: shown }, timeout.signal);
        }
        const secure = url.protocol === schemes.kv.secure;
        if (!secure && url.protocol !== schemes.kv.plain) throw new Error(`unknown scheme ${url.protocol}`);
        const host = url.hostname.replace(/^\[|\]$/g, '');
        const socket = await connectTcp({ host, port: Number(url.port), tls: secure ? (tls ?? {}) : undefined }, timeout.signal);
        return proof ? await proven(socket, maxFrameBytes, proof, timeout.signal) : tcpConnection(socket, maxFrameBytes, clock);
      } catch (thrown) {
        const why = timeout.signal.aborted ? `no answer within ${timeoutMs} ms` : thrown instanceof Error ? thrown.message : String(thrown);
        throw new SwitchyardError('unreachable', `cannot connect to ${address}: ${why}`, { cause: thrown });
      } finally {
        cancel();
      }
    },
  };

  /** Shows our token, and waits for the answer. */
  function proven(socket: Socket, maxFrameBytes: number, { token, isAnswer }: LinkProof, signal: AbortSignal): Promise<Connection> {
    const ours = token('kv');
    return new Promise((resolve, reject) => {
      const giveUp = () => socket.destroy();
      signal.addEventListener('abort', giveUp, { once: true });
      const connection = tcpConnection(socket, maxFrameBytes, clock, {
        maxBytes: maxProofBytes,
        open(frame) {
          signal.removeEventListener('abort', giveUp);
          const known = isAnswer('kv', ours, Buffer.from(frame).toString('latin1'));
          if (known) resolve(connection);
          return known;
        },
      });
      connection.onClose((why) => reject(new Error(why)));
      connection.send(Buffer.from(ours, 'latin1'));
    });
  }
}

const schemes = { link: { plain: 'ws:', secure: 'wss:' }, kv: { plain: 'tcp:', secure: 'tls:' } } as const;

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
