// ZeroMQ's wire protocol, as far as a subscriber and a dealer need it: ZMTP 3.0 with the NULL mechanism (rfc.zeromq.org/spec/23).
// Bytes in, messages out; sockets are in zmq-socket.ts.

export type ZmqSocketType = 'SUB' | 'DEALER';
/** The frames of one message. */
export type ZmqMessage = readonly Uint8Array[];

const greetingBytes = 64;
const flagMore = 1;
const flagLong = 2;
const flagCommand = 4;

/** What each side says first: that it speaks ZMTP 3.0 and uses no security. */
export function zmtpGreeting(): Uint8Array {
  const greeting = new Uint8Array(greetingBytes);
  greeting[0] = 0xff;
  greeting[9] = 0x7f;
  greeting[10] = 3;
  greeting.set(Buffer.from('NULL'), 12);
  return greeting;
}

/** What each side says second. */
export function zmtpReady(type: ZmqSocketType): Uint8Array {
  const text = (value: string) => [Buffer.from([value.length]), Buffer.from(value)];
  const property = (name: string, value: string) => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(value.length);
    return [...text(name), length, Buffer.from(value)];
  };
  const identity = type === 'DEALER' ? property('Identity', '') : [];
  return frame(flagCommand, Buffer.concat([...text('READY'), ...property('Socket-Type', type), ...identity]));
}

/** A subscription is a message whose body is 1 and the beginning of the topics that are wanted. */
export function zmtpSubscription(topic: string): Uint8Array {
  return zmtpMessage([Buffer.concat([Buffer.from([1]), Buffer.from(topic)])]);
}

export function zmtpMessage(frames: ZmqMessage): Uint8Array {
  return Buffer.concat(frames.map((body, index) => frame(index < frames.length - 1 ? flagMore : 0, body)));
}

function frame(flags: number, body: Uint8Array): Buffer {
  if (body.length < 256) return Buffer.concat([Buffer.from([flags, body.length]), body]);
  const header = Buffer.alloc(9);
  header[0] = flags | flagLong;
  header.writeBigUInt64BE(BigInt(body.length), 1);
  return Buffer.concat([header, body]);
}

/** Reads what a peer sends, in pieces as they come. */
export class ZmtpReader {
  readonly #maxMessageBytes: number;
  #held: Buffer = Buffer.alloc(0);
  #greeted = false;
  #ready = false;
  #frames: Buffer[] = [];
  #frameBytes = 0;

  constructor(options: { readonly maxMessageBytes: number }) {
    this.#maxMessageBytes = options.maxMessageBytes;
  }

  /** The peer is ready: it takes messages. */
  get ready(): boolean {
    return this.#ready;
  }

  /** The messages that are whole now. @throws Error when the peer speaks something else, or says too much */
  push(chunk: Uint8Array): ZmqMessage[] {
    this.#held = this.#held.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk]);
    const messages: ZmqMessage[] = [];
    if (!this.#greeted && !this.#readGreeting()) return messages;
    for (let next = this.#readFrame(); next !== undefined; next = this.#readFrame()) {
      if ((next.flags & flagCommand) !== 0) {
        this.#readCommand(next.body);
        continue;
      }
      this.#frames.push(next.body);
      this.#frameBytes += next.body.length;
      if (this.#frameBytes > this.#maxMessageBytes) throw new Error(`a message of more than ${this.#maxMessageBytes} bytes`);
      if ((next.flags & flagMore) !== 0) continue;
      messages.push(this.#frames);
      this.#frames = [];
      this.#frameBytes = 0;
    }
    return messages;
  }

  #readGreeting(): boolean {
    if (this.#held.length > 0 && this.#held[0] !== 0xff) throw new Error('the peer does not speak ZMTP');
    if (this.#held.length < greetingBytes) return false;
    if (this.#held[10]! < 3) throw new Error(`the peer speaks version ${this.#held[10]} of ZMTP, and 3 is needed`);
    const mechanism = this.#held.toString('latin1', 12, 32).replace(/\0+$/, '');
    if (mechanism !== 'NULL') throw new Error(`the peer wants the security mechanism ${mechanism}; only NULL is known here`);
    this.#held = this.#held.subarray(greetingBytes);
    this.#greeted = true;
    return true;
  }

  #readFrame(): { flags: number; body: Buffer } | undefined {
    const held = this.#held;
    if (held.length < 2) return undefined;
    const flags = held[0]!;
    const isLong = (flags & flagLong) !== 0;
    const start = isLong ? 9 : 2;
    if (held.length < start) return undefined;
    const length = isLong ? Number(held.readBigUInt64BE(1)) : held[1]!;
    if (length > this.#maxMessageBytes) throw new Error(`a frame of ${length} bytes`);
    if (held.length < start + length) return undefined;
    this.#held = held.subarray(start + length);
    return { flags, body: held.subarray(start, start + length) };
  }

  #readCommand(body: Buffer): void {
    const name = body.toString('latin1', 1, 1 + (body[0] ?? 0));
    if (name === 'READY') this.#ready = true;
    else if (name === 'ERROR') throw new Error(`the peer refuses: ${body.toString('latin1', 7)}`);
  }
}
