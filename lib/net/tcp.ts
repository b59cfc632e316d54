// KV transfer: frames over TCP, each after four bytes of length. A frame's bytes go to the kernel without a copy of ours.
import { createServer, isIP, type Server, type Socket, connect as tcpConnect } from 'node:net';
import { createServer as createTlsServer, type TlsOptions, connect as tlsConnect } from 'node:tls';
import type { Clock } from '../ports/clock.ts';
import type { Connection } from '../ports/net.ts';
import { ConnectionEnds } from './connection-ends.ts';
import type { Door } from './door.ts';
import { createFrameParser, lengthBytes } from './frame-parser.ts';
import { readingSocket } from './reading-socket.ts';
import type { TlsMaterial } from './tls.ts';

/** A closing connection whose peer takes nothing is cut after this. */
const closeWithinMs = 5000;
const handshakeMs = 5000;

/** What has to come before anything else. */
export interface Gate {
  /** Larger first frames are refused unread. */
  readonly maxBytes: number;
  /** Sees the first frame; false: the connection is cut. */
  open(frame: Uint8Array): boolean;
}

export function tcpConnection(socket: Socket, maxFrameBytes: number, clock: Clock, gate?: Gate): Connection {
  const ends = new ConnectionEnds();
  const remote = `${socket.remoteAddress}:${socket.remotePort}`;
  socket.setNoDelay(true);
  // A peer whose machine is gone answers no probes; the kernel then reports the connection as lost.
  socket.setKeepAlive(true, 5000);

  let waitsFor = gate;
  const limit = () => waitsFor?.maxBytes ?? maxFrameBytes;
  const parser = createFrameParser(limit, (frame) => {
    if (waitsFor) {
      if (!waitsFor.open(frame)) throw new Error('not let in');
      waitsFor = undefined;
    } else if (!ends.arrive(frame)) socket.pause();
  });
  socket.on('data', (chunk: Uint8Array) => {
    if (ends.closedWhy !== undefined) return;
    try {
      parser.push(chunk);
    } catch {
      ends.end(waitsFor ? 'not let in' : 'frame too large');
      socket.destroy();
    }
  });
  socket.on('error', (error) => ends.end(error.message));
  socket.on('close', () => ends.end('closed by the other side'));
  const left = () => ends.left(socket.writableLength);

  return {
    remote,
    send(frame, tail) {
      if (ends.closedWhy !== undefined) return;
      const header = Buffer.allocUnsafe(lengthBytes);
      header.writeUInt32BE(frame.length + (tail?.length ?? 0), 0);
      socket.cork();
      socket.write(header);
      socket.write(frame, left);
      if (tail) socket.write(tail, left);
      socket.uncork();
    },
    buffered: () => (ends.closedWhy === undefined ? socket.writableLength : 0),
    drained: (bytes) => ends.waitBelow(bytes, socket.writableLength),
    onFrame(handler) {
      ends.listen(handler);
      socket.resume();
    },
    onClose: (handler) => ends.whenClosed(handler),
    close() {
      if (ends.closedWhy !== undefined) return;
      ends.end('closed');
      socket.end();
      socket.resume();
      const cancel = clock.after(closeWithinMs, () => socket.destroy());
      socket.once('close', cancel);
    },
  };
}

/** With a certificate over TLS; with authorities too, whoever connects needs a certificate of theirs. */
export function serverTls(tls: TlsMaterial): TlsOptions {
  const { ca, cert, key } = tls;
  return { ...(cert && key && { cert, key }), ...(ca && { ca, requestCert: true, rejectUnauthorized: true }), handshakeTimeout: handshakeMs };
}

export interface TcpListening {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsMaterial | undefined;
  readonly door: Door;
}

export function listenTcp({ host, port, tls, door }: TcpListening, onSocket: (socket: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = tls?.cert ? createTlsServer(serverTls(tls)) : createServer({ pauseOnConnect: true });
    // Before whoever lets sockets in: one that needs no proof is let in at once.
    door.guard(server);
    if (tls?.cert) server.on('secureConnection', onSocket);
    else server.on('connection', (socket) => onSocket(readingSocket(socket)));
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
}

export interface TcpTarget {
  readonly host: string;
  readonly port: number;
  /** Over TLS. */
  readonly tls?: TlsMaterial | undefined;
}

/** @throws Error when nobody answers; the socket is destroyed when `signal` aborts */
export function connectTcp({ host, port, tls }: TcpTarget, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = tls ? tlsConnect({ host, port, ...tls, ...(isIP(host) === 0 && { servername: host }) }) : tcpConnect({ host, port });
    const giveUp = () => socket.destroy(new Error('gave up'));
    signal.addEventListener('abort', giveUp, { once: true });
    socket.once('error', reject);
    socket.once(tls ? 'secureConnect' : 'connect', () => {
      signal.removeEventListener('abort', giveUp);
      socket.off('error', reject);
      resolve(socket);
    });
  });
}
