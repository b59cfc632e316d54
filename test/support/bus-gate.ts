// Stands between one process and NATS, and stops chosen messages: whoever sent one has sent it and hears nothing. That
// is how a test holds an operation at a named stage, without a line in the services that is there for tests.
import { createServer, connect as dial, type Socket } from 'node:net';

export interface GateMessage {
  /** The question's subject, for an answer too. */
  readonly subject: string;
  /** `sent`: leaves the process (a question or a publication); `answered`: comes back to it. */
  readonly way: 'sent' | 'answered';
  readonly payload: Buffer;
  /** Of the question, for an answer. */
  readonly question: Buffer;
}

export interface Hold {
  /** Resolves when the first message has been stopped. */
  readonly reached: Promise<void>;
  /** Lets everything on that was stopped, and stops no more. What a process sent that is gone by now stays unsent. */
  letGo(): void;
}

export interface BusGate {
  /** What the process takes for NATS. */
  readonly address: string;
  /** Stops messages from now on. */
  hold(matches: (message: GateMessage) => boolean): Hold;
  /** Gives payloads of answers another content on their way back. */
  rewrite(change: (message: GateMessage) => Buffer | Promise<Buffer>): void;
  close(): Promise<void>;
}

interface Frame {
  readonly bytes: Buffer;
  /** Undefined for what carries no payload. */
  readonly message?: {
    readonly words: string[];
    readonly subject: string;
    readonly reply: string;
    readonly headers: Buffer;
    readonly payload: Buffer;
  };
}

/** Questions whose answers can be told by their subject; older ones are forgotten. */
const maxQuestions = 10_000;
const lineEnd = Buffer.from('\r\n');

/** @param natsAddress nats://host:port */
export async function startBusGate(natsAddress: string): Promise<BusGate> {
  const { hostname, port } = new URL(natsAddress);
  const sockets = new Set<Socket>();
  const holds = new Set<{ matches: (message: GateMessage) => boolean; stopped: (() => void)[]; reach: () => void }>();
  let change: (message: GateMessage) => Buffer | Promise<Buffer> = ({ payload }) => payload;

  /** Sends a frame on, now or when the hold that stopped it lets go. */
  function pass(message: GateMessage, send: () => void): void {
    for (const hold of holds) {
      if (!hold.matches(message)) continue;
      hold.stopped.push(send);
      hold.reach();
      return;
    }
    send();
  }

  const server = createServer((client) => {
    const nats = dial(Number(port), hostname);
    const questions = new Map<string, { subject: string; payload: Buffer }>();
    for (const socket of [client, nats]) {
      socket.setNoDelay(true);
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        nats.destroy();
      });
    }
    const write = (socket: Socket, bytes: Buffer) => {
      if (!socket.destroyed) socket.write(bytes);
    };
    const none = Buffer.alloc(0);
    client.on(
      'data',
      reader(({ bytes, message }) => {
        if (!message) return write(nats, bytes);
        const { subject, reply, payload } = message;
        if (reply !== '') questions.set(reply, { subject, payload });
        if (questions.size > maxQuestions) questions.delete(questions.keys().next().value!);
        pass({ subject, way: 'sent', payload, question: none }, () => write(nats, bytes));
      }),
    );
    nats.on(
      'data',
      reader(({ bytes, message }) => {
        const question = message && questions.get(message.subject);
        if (!message || !question) return write(client, bytes);
        const answer: GateMessage = { subject: question.subject, way: 'answered', payload: message.payload, question: question.payload };
        void Promise.resolve(change(answer)).then((payload) => {
          const out = payload === message.payload ? bytes : frameOf(message, payload);
          pass({ ...answer, payload }, () => write(client, out));
        });
      }),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  return {
    address: `nats://127.0.0.1:${(server.address() as { port: number }).port}`,
    hold(matches) {
      let reach = () => {};
      const reached = new Promise<void>((resolve) => {
        reach = resolve;
      });
      const held = { matches, stopped: [] as (() => void)[], reach };
      holds.add(held);
      return {
        reached,
        letGo() {
          holds.delete(held);
          for (const send of held.stopped.splice(0)) send();
        },
      };
    },
    rewrite(wanted) {
      change = wanted;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Cuts a stream of NATS' protocol into its messages. */
function reader(take: (frame: Frame) => void): (part: Buffer) => void {
  let held: Buffer = Buffer.alloc(0);
  return (part) => {
    held = held.length === 0 ? part : Buffer.concat([held, part]);
    for (;;) {
      const lineLength = held.indexOf(lineEnd);
      if (lineLength < 0) return;
      const words = held.toString('latin1', 0, lineLength).split(' ');
      const start = lineLength + lineEnd.length;
      if (!/^H?(PUB|MSG)$/.test(words[0]!)) {
        take({ bytes: held.subarray(0, start) });
        held = held.subarray(start);
        continue;
      }
      const end = start + Number(words.at(-1)) + lineEnd.length;
      if (held.length < end) return;
      take({ bytes: held.subarray(0, end), message: messageOf(words, held.subarray(start, end - lineEnd.length)) });
      held = held.subarray(end);
    }
  };
}

/** PUB subject [reply] size; MSG subject subscription [reply] size; with H, the headers' size comes before the whole. */
function messageOf(words: string[], body: Buffer): NonNullable<Frame['message']> {
  const withHeaders = words[0]!.startsWith('H');
  const headersSize = withHeaders ? Number(words.at(-2)) : 0;
  const before = words[0]!.endsWith('MSG') ? 3 : 2;
  const after = withHeaders ? 2 : 1;
  return {
    words,
    subject: words[1]!,
    reply: words.length > before + after ? words[before]! : '',
    headers: body.subarray(0, headersSize),
    payload: body.subarray(headersSize),
  };
}

function frameOf({ words, headers }: NonNullable<Frame['message']>, payload: Buffer): Buffer {
  const line = [...words.slice(0, -1), headers.length + payload.length].join(' ');
  return Buffer.concat([Buffer.from(line), lineEnd, headers, payload, lineEnd]);
}
