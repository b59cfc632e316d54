// KV transfer: frames over TCP, each after four bytes of length. A frame's bytes go to the kernel without a copy of ours.
import { createServer, type Server, type Socket, connect as tcpConnect } from 'node:net';
import type { Clock } from '../ports/clock.ts';
import type { Connection } from '../ports/net.ts';
import { ConnectionEnds } from './connection-ends.ts';
import { createFrameParser, lengthBytes } from './frame-parser.ts';

/** A closing connection whose peer takes nothing is cut after this. */
const closeWithinMs = 5000;

export function tcpConnection(socket: Socket, maxFrameBytes: number, clock: Clock): Connection {
  const ends = new ConnectionEnds();
  const remote = `${socket.remoteAddress}:${socket.remotePort}`;
  socket.setNoDelay(true);
  // A peer whose machine is gone answers no probes; the kernel then reports the connection as lost.
  socket.setKeepAlive(true, 5000);

  const parser = createFrameParser(maxFrameBytes, (frame) => {
    if (!ends.arrive(frame)) socket.pause();
  });
  socket.on('data', (chunk: Uint8Array) => {
    if (ends.closedWhy !== undefined) return;
    try {
      parser.push(chunk);
    } catch {
      ends.end('frame too large');
      socket.destroy();
    }
  });
  socket.on('error', (error) => ends.end(error.message));
  socket.on('close', () => ends.end('closed by the other side'));
  const left = () => ends.left(socket.writableLength);

  return {
    remote,
    send(frame) {
      if (ends.closedWhy !== undefined) return;
      const header = Buffer.allocUnsafe(lengthBytes);
      header.writeUInt32BE(frame.length, 0);
      socket.cork();
      socket.write(header);
      socket.write(frame, left);
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

export function listenTcp(host: string, port: number, onSocket: (socket: Socket) => void): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer(onSocket);
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
}

/** @throws Error when nobody answers; the socket is destroyed when `signal` aborts */
export function connectTcp(host: string, port: number, maxFrameBytes: number, clock: Clock, signal: AbortSignal): Promise<Connection> {
  return new Promise((resolve, reject) => {
    const socket = tcpConnect({ host, port });
    const giveUp = () => socket.destroy(new Error('gave up'));
    signal.addEventListener('abort', giveUp, { once: true });
    socket.once('error', reject);
    socket.once('connect', () => {
      signal.removeEventListener('abort', giveUp);
      socket.off('error', reject);
      resolve(tcpConnection(socket, maxFrameBytes, clock));
    });
  });
}
