// A client that does nothing but note when bytes come: in the time of the whole machine, with fractions of a millisecond.
import { Agent, request } from 'node:http';

export interface Sent {
  readonly path?: string;
  readonly body: string;
  readonly key: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly sentAtMs: number;
  /** NaN: there was none. */
  readonly firstByteAtMs: number;
}

const agent = new Agent({ keepAlive: true });
const nowMs = () => performance.timeOrigin + performance.now();

/** The answer, or undefined when the client left before it was whole. */
export function post(
  url: string,
  { path = '/v1/chat/completions', body, key, headers }: Sent,
): { answer: Promise<Answer | undefined>; leave(): number } {
  let left = false;
  const sentAtMs = nowMs();
  const asked = request(`${url}${path}`, {
    method: 'POST',
    agent,
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}`, 'content-length': Buffer.byteLength(body), ...headers },
  });
  const answer = new Promise<Answer | undefined>((resolve, reject) => {
    const failed = (thrown: unknown) => (left ? resolve(undefined) : reject(thrown));
    asked.on('error', failed);
    asked.on('response', (response) => {
      let firstByteAtMs = Number.NaN;
      const pieces: Buffer[] = [];
      response.on('data', (piece: Buffer) => {
        if (pieces.length === 0) firstByteAtMs = nowMs();
        pieces.push(piece);
      });
      response.on('error', failed);
      response.on('end', () => {
        const text = Buffer.concat(pieces).toString();
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, sentAtMs, firstByteAtMs });
      });
    });
  });
  asked.end(body);
  return {
    answer,
    leave() {
      left = true;
      asked.destroy();
      return nowMs();
    },
  };
}
