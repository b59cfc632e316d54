// One response of node:http as lib/ports/http.ts describes it. The head leaves together with the first bytes; a body that
// comes in one piece gets a content-length. Chunks are framed here, each as one buffer: node would write a size, the bytes
// and a line break, and a write of several pieces costs more than the copy.
import type { ServerResponse } from 'node:http';
import type { HttpResponse } from '../ports/http.ts';

export class NodeResponse implements HttpResponse {
  readonly #outgoing: ServerResponse;
  readonly #closing: () => boolean;
  /** Given by `head`, not yet handed to node. */
  #pending: { status: number; headers: Readonly<Record<string, string>> } | undefined;
  #headSent = false;
  #chunked = false;
  #ended = false;
  #gone = false;
  /** Undefined until something waits: most responses never do. */
  #drainWaiters: (() => void)[] | undefined;
  #leftHandlers: (() => void)[] = [];

  /**
   * `closing()`: the server takes no more requests, the client should not use this connection again. `over` is called when
   * the response has been sent or the connection is gone.
   */
  constructor(outgoing: ServerResponse, closing: () => boolean, over: () => void) {
    this.#outgoing = outgoing;
    this.#closing = closing;
    outgoing.on('error', ignored);
    outgoing.on('close', () => {
      this.#gone = true;
      this.#drained();
      over();
      if (this.#ended) return;
      for (const run of this.#leftHandlers.splice(0)) run();
    });
  }

  /** Nothing more is sent. */
  get over(): boolean {
    return this.#outgoing.writableFinished || this.#gone;
  }

  get headSent(): boolean {
    return this.#headSent;
  }

  head(status: number, headers: Readonly<Record<string, string>>): void {
    if (this.#headSent) throw new Error('the head was sent before');
    this.#headSent = true;
    this.#pending = { status, headers: this.#closing() ? { ...headers, connection: 'close' } : headers };
    process.nextTick(() => {
      if (!this.#pending || this.#gone) return;
      this.#sendHead();
      this.#outgoing.flushHeaders();
    });
  }

  write(bytes: Uint8Array | string): boolean {
    this.#needHead();
    if (this.#gone || this.#ended || bytes.length === 0) return true;
    this.#sendHead();
    return this.#outgoing.write(this.#chunked ? chunkOf(bytes, noEnd) : bytes);
  }

  end(bytes?: Uint8Array | string): void {
    this.#needHead();
    if (this.#gone || this.#ended) return;
    this.#ended = true;
    const pending = this.#pending;
    if (pending && pending.status >= 200 && pending.status !== 204 && pending.status !== 304) {
      const { headers } = pending;
      if (headers['content-length'] === undefined)
        pending.headers = { ...headers, 'content-length': String(bytes === undefined ? 0 : Buffer.byteLength(bytes)) };
    }
    this.#sendHead();
    if (this.#chunked) this.#outgoing.end(chunkOf(bytes ?? '', endOfChunks));
    else if (pending && bytes instanceof Uint8Array && bytes.length <= oneWriteBytes) this.#outgoing.end(latin1Of(bytes), 'latin1');
    else this.#outgoing.end(bytes);
  }

  onDrain(run: () => void): void {
    if (this.#gone || !this.#outgoing.writableNeedDrain) {
      process.nextTick(run);
      return;
    }
    if (!this.#drainWaiters) {
      this.#drainWaiters = [];
      this.#outgoing.on('drain', () => this.#drained());
    }
    this.#drainWaiters.push(run);
  }

  onClientLeft(run: () => void): void {
    if (!this.#gone) this.#leftHandlers.push(run);
    else if (!this.#ended) process.nextTick(run);
  }

  buffered(): number {
    return this.#gone ? 0 : this.#outgoing.writableLength;
  }

  #needHead(): void {
    if (!this.#headSent) throw new Error('the head must be sent before the body');
  }

  #sendHead(): void {
    const pending = this.#pending;
    if (!pending) return;
    this.#pending = undefined;
    this.#outgoing.writeHead(pending.status, pending.headers);
    this.#chunked = this.#outgoing.chunkedEncoding;
    this.#outgoing.chunkedEncoding = false;
  }

  #drained(): void {
    if (this.#drainWaiters) for (const run of this.#drainWaiters.splice(0)) run();
  }
}

/** A body of up to so many bytes leaves in one string with its head, byte for byte: node writes a Buffer beside it, which costs more. */
const oneWriteBytes = 16_384;

function latin1Of(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

function ignored(): void {}

const noEnd = '';
const endOfChunks = '0\r\n\r\n';

/** The bytes as one chunk of chunked transfer coding, if there are any, and what follows it. */
function chunkOf(bytes: Uint8Array | string, then: string): Buffer {
  const length = typeof bytes === 'string' ? Buffer.byteLength(bytes) : bytes.length;
  const size = length === 0 ? '' : `${length.toString(16)}\r\n`;
  const after = length === 0 ? then : `\r\n${then}`;
  const chunk = Buffer.allocUnsafe(size.length + length + after.length);
  chunk.write(size, 0, 'latin1');
  if (typeof bytes === 'string') chunk.write(bytes, size.length, 'utf8');
  else chunk.set(bytes, size.length);
  chunk.write(after, size.length + length, 'latin1');
  return chunk;
}
