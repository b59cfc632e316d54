// A ZeroMQ subscriber or dealer over TCP. A connection that is lost is made again; what was said meanwhile is lost, as with every
// ZeroMQ subscriber. An implementation of sockets of its own beside lib/net: only KV events of engines travel this way.
import { createServer, type Server, type Socket, connect as tcpConnect } from 'node:net';
import type { Cancel, Clock } from '../ports/clock.ts';
import { type ZmqMessage, type ZmqSocketType, ZmtpReader, zmtpGreeting, zmtpMessage, zmtpReady, zmtpSubscription } from './zmtp.ts';

export interface ZmqSocketOptions {
  readonly type: ZmqSocketType;
  /** `tcp://host:port` connects to a peer that binds; `tcp://*:port` binds, for peers that connect. */
  readonly endpoint: string;
  readonly clock: Clock;
  readonly onMessage: (message: ZmqMessage) => void;
  /** A peer is there: messages reach it from now on. */
  readonly onUp?: () => void;
  readonly onDown?: (why: string) => void;
}

export interface ZmqSocket {
  /** To every peer that is there; to nobody, if none is. */
  send(message: ZmqMessage): void;
  close(): void;
}

const reconnectMs = 500;
const maxReconnectMs = 10_000;
const maxMessageBytes = 64 * 1024 * 1024;
/** Peers at once of a socket that binds. */
const maxPeers = 16;

/** Whether an endpoint can be used at all. */
export function isZmqEndpoint(endpoint: string): boolean {
  return parseEndpoint(endpoint) !== undefined;
}

/** @throws Error for an endpoint that is none */
export function openZmqSocket(options: ZmqSocketOptions): ZmqSocket {
  const place = parseEndpoint(options.endpoint);
  if (!place) throw new Error(`${options.endpoint} is no endpoint: tcp://host:port, or tcp://*:port to wait for the engine there`);
  const { clock } = options;
  const peers = new Map<Socket, ZmtpReader>();
  let closed = false;
  let server: Server | undefined;
  let cancelRetry: Cancel = () => {};
  let failures = 0;

  function again(run: () => void): void {
    if (closed) return;
    cancelRetry();
    cancelRetry = clock.after(Math.min(maxReconnectMs, reconnectMs * 2 ** Math.min(failures++, 10)), run);
  }

  function adopt(socket: Socket, onGone: () => void): void {
    const reader = new ZmtpReader({ maxMessageBytes });
    let why = 'closed by the other side';
    peers.set(socket, reader);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 5_000);
    socket.write(zmtpGreeting());
    socket.write(zmtpReady(options.type));
    socket.on('data', (chunk: Uint8Array) => {
      const wasReady = reader.ready;
      let messages: ZmqMessage[];
      try {
        messages = reader.push(chunk);
      } catch (thrown) {
        why = (thrown as Error).message;
        socket.destroy();
        return;
      }
      if (reader.ready && !wasReady) {
        failures = 0;
        if (options.type === 'SUB') socket.write(zmtpSubscription(''));
        options.onUp?.();
      }
      for (const message of messages) options.onMessage(message);
    });
    socket.on('error', (error) => {
      why = error.message;
    });
    socket.on('close', () => {
      peers.delete(socket);
      if (closed) return;
      options.onDown?.(why);
      onGone();
    });
  }

  function dial(): void {
    if (closed) return;
    adopt(tcpConnect(place!.port, place!.host), () => again(dial));
  }

  function listen(): void {
    if (closed) return;
    server = createServer((socket) => {
      if (peers.size >= maxPeers) socket.destroy();
      else adopt(socket, () => {});
    });
    server.on('error', (error) => {
      options.onDown?.(error.message);
      again(listen);
    });
    server.listen(place!.port);
  }

  if (place.host === '*') listen();
  else dial();

  return {
    send(message) {
      const bytes = zmtpMessage(message);
      for (const [socket, reader] of peers) if (reader.ready) socket.write(bytes);
    },
    close() {
      closed = true;
      cancelRetry();
      server?.close();
      for (const socket of peers.keys()) socket.destroy();
    },
  };
}

function parseEndpoint(endpoint: string): { host: string; port: number } | undefined {
  const match = /^tcp:\/\/(\*|\[[0-9a-fA-F:]+\]|[^:/*\s]+):(\d{1,5})$/.exec(endpoint);
  if (!match || Number(match[2]) > 65_535 || Number(match[2]) === 0) return undefined;
  return { host: match[1]!.replace(/^\[|\]$/g, ''), port: Number(match[2]) };
}
