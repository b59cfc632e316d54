// What a client gets whose bytes never became a request: an error as OpenAI's clients know it, and the end of the connection.
// Node's own answers to these have no body.
import type { Duplex } from 'node:stream';
import type { Clock } from '../ports/clock.ts';

/** A client that does not close its side is cut after this. */
const lingerMs = 1000;

export interface Malformed {
  readonly status: number;
  /** The words that follow the status. */
  readonly reason: string;
  readonly code: string;
  readonly message: string;
}

const byNodeCode: Readonly<Record<string, Malformed>> = {
  HPE_HEADER_OVERFLOW: { status: 431, reason: 'Request Header Fields Too Large', code: 'invalid_request', message: 'the headers are too large' },
  HPE_CHUNK_EXTENSIONS_OVERFLOW: {
    status: 413,
    reason: 'Payload Too Large',
    code: 'body_too_large',
    message: 'the extensions of a chunk are too large',
  },
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, reason: 'Request Timeout', code: 'timeout', message: 'the request did not arrive in time' },
};
const notHttp: Malformed = { status: 400, reason: 'Bad Request', code: 'invalid_request', message: 'this is not a valid HTTP request' };

export const noHost: Malformed = {
  status: 400,
  reason: 'Bad Request',
  code: 'invalid_request',
  message: 'a request of HTTP/1.1 needs a host header',
};
export const noTunnel: Malformed = { status: 405, reason: 'Method Not Allowed', code: 'method_not_allowed', message: 'this server is no proxy' };
export const unmetExpectation: Malformed = {
  status: 417,
  reason: 'Expectation Failed',
  code: 'invalid_request',
  message: 'only "expect: 100-continue" is understood',
};

/** What to say to an error of node's parser. Undefined: nobody is there to hear it. */
export function malformedBy(error: { code?: string }): Malformed | undefined {
  return error.code === 'ECONNRESET' || error.code === 'EPIPE' ? undefined : (byNodeCode[error.code ?? ''] ?? notHttp);
}

export function malformedBody({ code, message }: Malformed): string {
  return JSON.stringify({ error: { message, type: 'invalid_request_error', param: null, code } });
}

/** Says it on the bare connection, and closes that. Nothing is said in the middle of another answer. */
export function answerBare(socket: Duplex, malformed: Malformed | undefined, speaking: boolean, clock: Clock): void {
  if (!malformed || speaking || !socket.writable) {
    socket.destroy();
    return;
  }
  const body = malformedBody(malformed);
  const cancel = clock.after(lingerMs, () => socket.destroy());
  socket.once('close', cancel);
  socket.on('error', () => socket.destroy());
  socket.end(
    `HTTP/1.1 ${malformed.status} ${malformed.reason}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
