// HTTP on real sockets: bytes that are almost requests, in pieces, with lengths that lie. Every connection is answered or
// closed within its limits, every refusal has a body, and the next request is served.
import { connect } from 'node:net';
import { codes } from '../../../core/errors/codes.ts';
import { SwitchyardError } from '../../../core/errors/switchyard-error.ts';
import { errorBody } from '../../../core/openai/error-body.ts';
import { systemClock } from '../../../lib/clock/system-clock.ts';
import { createNodeHttp } from '../../../lib/http/node-http.ts';
import { createMemoryTelemetry } from '../../../lib/telemetry/memory-telemetry.ts';
import type { Chooser } from '../chooser.ts';
import { count, type Entrance } from '../entrance.ts';
import { mutateBytes } from '../mutate-bytes.ts';
import { refusalProblem } from '../refusal-shape.ts';

const atOnce = 50;
const headersWithinMs = 500;
const requestWithinMs = 1_000;
const longestMs = 10_000;
const requests = [
  'GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n',
  'POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello',
  'POST /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  'POST /b HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello',
  'GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n',
  'HEAD /a HTTP/1.0\r\n\r\n',
  'OPTIONS * HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade, close\r\n\r\n',
  `GET /${'p'.repeat(200)}?q=%E0%A4%A HTTP/1.1\r\nhost: a\r\ncookie: ${'c'.repeat(3000)}\r\nconnection: close\r\n\r\n`,
].map((text) => Buffer.from(text));

export const socketEntrance: Entrance = {
  name: 'HTTP on sockets',
  weight: 0.6,
  shortInputs: 100,
  batch: 100,
  async open(_seed, findings) {
    const outcomes = new Map<string, number>();
    const telemetry = createMemoryTelemetry(systemClock);
    const http = createNodeHttp({ clock: systemClock, telemetry, headersWithinMs, requestWithinMs });
    const server = await http.serve({ host: '127.0.0.1', port: 0 }, async (request, response) => {
      try {
        const bytes = await request.body(1_000);
        void request.query.get('q');
        response.head(200, { 'content-type': 'text/plain' });
        response.end(String(bytes.length));
      } catch (thrown) {
        const code = thrown instanceof SwitchyardError ? thrown.code : 'internal';
        response.head(codes[code].http, { 'content-type': 'application/json' });
        response.end(errorBody({ code, message: String(thrown) }));
      }
    });
    const port = Number(new URL(server.address).port);
    const running = new Set<Promise<void>>();

    async function say(pieces: readonly Uint8Array[], hangsUp: boolean): Promise<void> {
      const startMs = performance.now();
      const socket = connect({ port, host: '127.0.0.1' });
      const parts: Buffer[] = [];
      socket.on('data', (bytes) => void parts.push(bytes));
      socket.on('error', () => {});
      const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
      for (const piece of pieces) {
        if (!socket.writable) break;
        socket.write(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
      // A connection that was answered may be kept for another request.
      const hangUp = setTimeout(() => socket.end(), hangsUp ? 0 : 2 * requestWithinMs);
      await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, longestMs).unref())]);
      if (performance.now() - startMs >= longestMs)
        findings.add('a connection is neither answered nor closed', Buffer.concat(pieces).toString('latin1'));
      clearTimeout(hangUp);
      socket.destroy();
      judge(Buffer.concat(parts).toString('latin1'), Buffer.concat(pieces).toString('latin1'));
    }

    /** The last answer on a connection: what comes before it was a request of its own. */
    function judge(answers: string, sent: string): void {
      const last = answers.slice([...answers.matchAll(/HTTP\/1\.1 \d{3} /g)].at(-1)?.index ?? 0);
      const status = Number(last.split(' ', 2)[1] ?? 0);
      count(outcomes, status === 0 ? 'closed' : String(status));
      if (status < 400 || sent.startsWith('HEAD')) return;
      const [head = '', ...body] = last.split('\r\n\r\n');
      const type = /content-type: (\S+)/i.exec(head)?.[1];
      const problem = refusalProblem(status, type, body.join('\r\n\r\n'));
      if (problem) findings.add(`on a socket: ${problem}`, `${sent}\n->\n${last}`);
    }

    return {
      outcomes,
      async feed(chooser) {
        const bytes = mutateBytes(chooser.pick(requests), requests, chooser);
        const talk = say(inPieces(bytes, chooser), chooser.chance(0.7)).finally(() => running.delete(talk));
        running.add(talk);
        if (running.size >= atOnce) await Promise.race(running);
      },
      async settle() {
        await Promise.all(running);
        const answered = await fetch(`${server.address}/a`).then((reply) => reply.status, String);
        if (answered !== 200) findings.add(`the next client gets ${answered}`);
        if (telemetry.value('switchyard_http_handler_failures_total') > 0) findings.add('a handler failed', JSON.stringify(telemetry.logs.at(-1)));
      },
      close: () => server.close(100),
    };
  },
};

function inPieces(bytes: Uint8Array, chooser: Chooser): Uint8Array[] {
  if (chooser.chance(0.6)) return [bytes];
  const at = chooser.int(bytes.length + 1);
  return [bytes.subarray(0, at), bytes.subarray(at)];
}
