// The token link: one WebSocket per gateway and agent, binary frames, no compression. Frames of one turn of the event loop
// leave in one write, because the write costs more than the frame. Pings find a peer that is gone without a word; a frame
// above the limit closes the connection.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { Socket } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import { type Clock, every } from '../ports/clock.ts';
import type { Connection } from '../ports/net.ts';
import { ConnectionEnds } from './connection-ends.ts';
import type { Door } from './door.ts';
import { serverTls } from './tcp.ts';
import type { TlsMaterial } from './tls.ts';

/** A peer that sent nothing (not even a pong) for two whole intervals is gone. */
const pingEveryMs = 2000;
const binaryOnly = 1003;
const messageTooBig = 1009;

/** `tcp` is the socket below. */
export function webSocketConnection(socket: WebSocket, tcp: Socket, remote: string, clock: Clock): Connection {
  const ends = new ConnectionEnds();
  let silentPings = 0;
  const stopPinging = every(clock, pingEveryMs, () => {
    if (silentPings >= 2) {
      end('no answer to pings');
      socket.terminate();
      return;
    }
    silentPings++;
    socket.ping();
  });

  function end(why: string): void {
    stopPinging();
    ends.end(why);
  }

  socket.on('pong', () => {
    silentPings = 0;
  });
  socket.on('ping', () => {
    silentPings = 0;
  });
  socket.on('message', (data: Uint8Array, isBinary: boolean) => {
    silentPings = 0;
    if (!isBinary) socket.close(binaryOnly, 'binary frames only');
    else if (!ends.arrive(data)) socket.pause();
  });
  socket.on('error', (error) => end((error as { code?: string }).code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH' ? 'frame too large' : error.message));
  socket.on('close', (code) => end(code === messageTooBig ? 'frame too large' : 'closed by the other side'));
  const left = () => ends.left(socket.bufferedAmount);
  const binary = { binary: true };
  const begins = { binary: true, fin: false };
  let corked = false;
  const uncork = () => {
    corked = false;
    tcp.uncork();
  };

  return {
    remote,
    send(frame, tail) {
      if (ends.closedWhy !== undefined) return;
      if (!corked) {
        corked = true;
        tcp.cork();
        setImmediate(uncork);
      }
      if (tail) socket.send(frame, begins);
      socket.send(tail ?? frame, binary, left);
    },
    buffered: () => (ends.closedWhy === undefined ? socket.bufferedAmount : 0),
    drained: (bytes) => ends.waitBelow(bytes, socket.bufferedAmount),
    onFrame(handler) {
      ends.listen(handler);
      if (socket.isPaused) socket.resume();
    },
    onClose: (handler) => ends.whenClosed(handler),
    close() {
      if (ends.closedWhy !== undefined) return;
      end('closed');
      if (socket.isPaused) socket.resume();
      socket.close();
    },
  };
}

/** A peer that does not answer the closing handshake is cut after `closeTimeout`. */
const plain = { perMessageDeflate: false, skipUTF8Validation: true, closeTimeout: 2000 };

/**
 * Masks protect proxies from scripts in browsers. Neither is between our processes, and a mask of zeros spares both sides
 * a pass over every prompt.
 */
const noMask = { generateMask: (mask: Buffer) => void mask.fill(0) };

export interface WebSocketListening {
  readonly host: string;
  readonly port: number;
  readonly maxFrameBytes: number;
  readonly tls: TlsMaterial | undefined;
  readonly door: Door;
  /** Looks at the token of whoever wants in and says what to answer; undefined: no. Absent: everybody is let in. */
  readonly admit?: ((token: string, remote: string) => string | undefined) | undefined;
}

const tokenScheme = 'Switchyard ';
const answerHeader = 'x-switchyard-proof';

export function listenWebSocket(
  { host, port, maxFrameBytes, tls, door, admit }: WebSocketListening,
  onSocket: (socket: WebSocket, tcp: Socket, remote: string) => void,
): Promise<Server> {
  return new Promise((resolve, reject) => {
    const nothingHere = (_request: IncomingMessage, response: ServerResponse) => response.writeHead(426, { connection: 'close' }).end();
    const server = tls?.cert ? createSecureServer(serverTls(tls), nothingHere) : createServer(nothingHere);
    door.guard(server);
    const sockets = new WebSocketServer({ ...plain, noServer: true, maxPayload: maxFrameBytes });
    const answers = new WeakMap<IncomingMessage, string>();
    sockets.on('headers', (headers, request) => {
      const answer = answers.get(request);
      if (answer !== undefined) headers.push(`${answerHeader}: ${answer}`);
    });
    server.on('upgrade', (request, tcp: Socket, head) => {
      const remote = `${tcp.remoteAddress}:${tcp.remotePort}`;
      if (admit) {
        const { authorization = '' } = request.headers;
        const answer = authorization.startsWith(tokenScheme) ? admit(authorization.slice(tokenScheme.length), remote) : undefined;
        if (answer === undefined) {
          tcp.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
          return;
        }
        answers.set(request, answer);
      }
      sockets.handleUpgrade(request, tcp, head, (socket) => {
        door.letIn(tcp);
        onSocket(socket, tcp, remote);
      });
    });
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
}

export interface WebSocketProof {
  readonly token: string;
  isAnswer(answer: string): boolean;
}

/**
 * The connection is made within the `open` event: frames that came together with the handshake would be lost later.
 * @throws Error when nobody answers, or when `signal` aborts
 */
export function connectWebSocket(
  address: string,
  options: { maxFrameBytes: number; clock: Clock; tls: TlsMaterial | undefined; proof: WebSocketProof | undefined },
  signal: AbortSignal,
): Promise<Connection> {
  const { maxFrameBytes, clock, tls, proof } = options;
  return new Promise((resolve, reject) => {
    const headers = proof ? { authorization: tokenScheme + proof.token } : {};
    const socket = new WebSocket(address, { ...plain, ...noMask, ...tls, headers, maxPayload: maxFrameBytes });
    let tcp: Socket | undefined;
    socket.once('upgrade', (response) => {
      tcp = response.socket;
      const answer = response.headers[answerHeader];
      if (proof && !(typeof answer === 'string' && proof.isAnswer(answer))) {
        reject(new Error('it does not know the secret'));
        socket.terminate();
      }
    });
    const giveUp = () => socket.terminate();
    signal.addEventListener('abort', giveUp, { once: true });
    socket.on('error', reject);
    socket.once('open', () => {
      signal.removeEventListener('abort', giveUp);
      socket.off('error', reject);
      resolve(webSocketConnection(socket, tcp!, new URL(address).host, clock));
    });
  });
}
