// The ports of the data plane before anybody has proved anything, in the clear and over TLS: upgrade requests, first frames
// and handshakes that are almost right, in pieces, and silence. Nobody is let in, nobody stays, and the next member of the
// fleet is served. The other way round a listener that lies: whoever connects to it does not believe it.
import { createServer, connect as dial, type Server, type Socket } from 'node:net';
import { systemClock } from '../../../lib/clock/system-clock.ts';
import { createNodeNet } from '../../../lib/net/node-net.ts';
import type { Listener } from '../../../lib/ports/net.ts';
import { testCertificates } from '../../support/certificates.ts';
import type { Chooser } from '../chooser.ts';
import { count, type Entrance } from '../entrance.ts';
import { mutateBytes } from '../mutate-bytes.ts';

const atOnce = 60;
const proofWithinMs = 300;
const longestMs = 10_000;
const maxFrameBytes = 1 << 20;
const secrets = { fleet: 'fleet' };
const tls = testCertificates();
const token = 'mfx1a2b3.bm9uY2Vub25jZQ..c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmE';
const upgrade = (authorization: string) =>
  `GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nauthorization: ${authorization}\r\n\r\n`;
const framed = (text: string) => Buffer.concat([Buffer.from([0, 0, 0, text.length]), Buffer.from(text, 'latin1')]);
/** A ClientHello of TLS 1.2 with two cipher suites and no extensions. */
const clientHello = Buffer.from(`160301002f0100002b0303${'5a'.repeat(32)}000004c02f009c0100`, 'hex');
const openings: readonly Uint8Array[] = [
  Buffer.from(upgrade(`Switchyard ${token}`)),
  Buffer.from(upgrade('Basic dXNlcjpwYXNz')),
  Buffer.from('GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n'),
  framed(token),
  framed(`${token}${'x'.repeat(150)}`),
  clientHello,
  new Uint8Array(),
];
const answers: readonly Uint8Array[] = [
  Buffer.from(
    'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\nx-switchyard-proof: AAAA\r\n\r\n',
  ),
  Buffer.from('HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n'),
  framed('c2lnbmF0dXJlc2lnbmF0dXJlc2lnbmF0dXJlc2lnbmE'),
];

export const doorEntrance: Entrance = {
  name: 'doors of the data plane',
  weight: 3,
  shortInputs: 300,
  batch: 300,
  async open(_seed, findings) {
    const outcomes = new Map<string, number>();
    const inTheClear = createNodeNet(systemClock, { secrets, proofWithinMs });
    const overTls = createNodeNet(systemClock, { secrets, proofWithinMs, tls });
    const listening = { host: '127.0.0.1', port: 0, maxFrameBytes };
    let expected = 0;
    const letIn = () => {
      if (expected <= 0) findings.add('a stranger is let in');
    };
    const listeners: Listener[] = [];
    for (const net of [inTheClear, overTls]) for (const kind of ['link', 'kv'] as const) listeners.push(await net.listen(kind, listening, letIn));
    const liar = await lyingListener();
    const running = new Set<Promise<void>>();

    async function knock(address: string, pieces: readonly Uint8Array[], patient: boolean): Promise<void> {
      const socket = dial({ port: Number(new URL(address).port), host: '127.0.0.1' });
      const heard: Buffer[] = [];
      socket.on('data', (bytes) => void heard.push(bytes));
      socket.on('error', () => {});
      const closed = new Promise<boolean>((resolve) => socket.once('close', () => resolve(true)));
      for (const piece of pieces) {
        if (socket.writable) socket.write(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (!patient) socket.end();
      const timer = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), longestMs).unref());
      if (!(await Promise.race([closed, timer]))) findings.add('a stranger may stay', Buffer.concat(pieces).toString('latin1'));
      socket.destroy();
      const text = Buffer.concat(heard).toString('latin1');
      const status = /^HTTP\/1\.1 (\d{3})/.exec(text)?.[1];
      if (status !== undefined && Number(status) < 400) findings.add(`a stranger is answered with ${status}`, text);
      count(outcomes, status ?? (text === '' ? 'closed' : text.charCodeAt(0) === 0x15 ? 'TLS alert' : 'other words'));
    }

    async function believe(bytes: Uint8Array, chooser: Chooser): Promise<void> {
      liar.says(bytes);
      const address = `${chooser.pick(['ws', 'tcp', 'wss', 'tls'])}://127.0.0.1:${liar.port}`;
      const met = await overTls.connect(address, { timeoutMs: 300, maxFrameBytes }).then(
        (connection) => {
          connection.close();
          return 'believed';
        },
        (thrown) => String(thrown.code),
      );
      if (met !== 'unreachable') findings.add(`a listener that lies is ${met}`, Buffer.from(bytes).toString('latin1'));
      count(outcomes, 'a liar is left');
    }

    return {
      outcomes,
      async feed(chooser) {
        let work: Promise<void>;
        if (chooser.chance(0.1)) work = believe(mutateBytes(chooser.pick(answers), answers, chooser), chooser);
        else {
          const { address } = chooser.pick(listeners);
          const bytes = chooser.chance(0.1) ? chooser.bytes(chooser.length(2_000)) : mutateBytes(chooser.pick(openings), openings, chooser);
          const at = chooser.int(bytes.length + 1);
          work = knock(address, chooser.chance(0.6) ? [bytes] : [bytes.subarray(0, at), bytes.subarray(at)], chooser.chance(0.01));
        }
        const talk = work.finally(() => running.delete(talk));
        running.add(talk);
        if (running.size >= atOnce) await Promise.race(running);
      },
      async settle() {
        await Promise.all(running);
        for (const { address } of listeners) {
          expected++;
          const connection = await (address.includes('s:') ? overTls : inTheClear)
            .connect(address, { timeoutMs: 2_000, maxFrameBytes })
            .catch((thrown) => void findings.add('the next member of the fleet is not served', String(thrown)));
          connection?.close();
          expected--;
        }
      },
      async close() {
        for (const listener of listeners) await listener.close();
        await liar.close();
      },
    };
  },
};

/** Says the bytes it was last given to whoever connects. */
async function lyingListener(): Promise<{ readonly port: number; says(bytes: Uint8Array): void; close(): Promise<void> }> {
  let words: Uint8Array = new Uint8Array();
  const open = new Set<Socket>();
  const server: Server = createServer((socket) => {
    open.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => open.delete(socket));
    socket.write(words);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    port: address !== null && typeof address === 'object' ? address.port : 0,
    says(bytes) {
      words = bytes;
    },
    close: () =>
      new Promise((resolve) => {
        for (const socket of open) socket.destroy();
        server.close(() => resolve());
      }),
  };
}
