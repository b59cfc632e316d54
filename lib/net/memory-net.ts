// Framed connections inside one process: the twin of lib/net/node-net.ts. Frames arrive whole, in order and never within
// the call of `send`; an oversized frame closes the connection, as on a real one.
import { AsyncLocalStorage } from 'node:async_hooks';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { type Clock, sleep } from '../ports/clock.ts';
import type { Connection, Listener, Net } from '../ports/net.ts';

export interface MemoryNetOptions {
  /** One way, for every frame. 0: as soon as the running code returns. */
  readonly latencyMs?: number;
}

export interface MemoryNet extends Net {
  /** Closes every connection to or from an address, as when its process dies. Listeners of that address are gone too. */
  cut(address: string): void;
}

interface Open {
  readonly address: string;
  readonly maxFrameBytes: number;
  readonly onConnection: (connection: Connection) => void;
  readonly ends: Set<End>;
}

const schemes = { link: 'ws', kv: 'tcp' } as const;

export function createMemoryNet(clock: Clock, options: MemoryNetOptions = {}): MemoryNet {
  const latencyMs = options.latencyMs ?? 0;
  const listeners = new Map<string, Open>();
  let nextPort = 40_000;
  let nextClient = 1;

  /** On their way, in order: timers of the machine's clock that are due together may fire in any order. */
  const underWay: (() => void)[] = [];

  function soon(run: () => void): void {
    if (latencyMs === 0) {
      queueMicrotask(run);
      return;
    }
    underWay.push(run);
    clock.after(latencyMs, () => underWay.shift()?.());
  }

  return {
    async listen(kind, { host, port, maxFrameBytes }, onConnection): Promise<Listener> {
      const address = `${schemes[kind]}://${host}:${port === 0 ? nextPort++ : port}`;
      if (listeners.has(address)) throw new SwitchyardError('port_taken', `${address} is in use`);
      const open: Open = { address, maxFrameBytes, onConnection: AsyncLocalStorage.bind(onConnection), ends: new Set() };
      listeners.set(address, open);
      return {
        address,
        async close() {
          if (listeners.get(address) === open) listeners.delete(address);
          for (const end of [...open.ends]) end.close();
        },
      };
    },

    async connect(address, { timeoutMs, maxFrameBytes }) {
      const open = listeners.get(address);
      if (!open) {
        if (latencyMs > 0) await sleep(clock, latencyMs);
        throw new SwitchyardError('unreachable', `nobody listens on ${address}`);
      }
      if (latencyMs * 2 > timeoutMs) {
        await sleep(clock, timeoutMs);
        throw new SwitchyardError('unreachable', `${address} did not answer within ${timeoutMs} ms`);
      }
      const [near, far] = pair(address, `memory:${nextClient++}`, { near: maxFrameBytes, far: open.maxFrameBytes }, soon);
      open.ends.add(far);
      far.onClose(() => open.ends.delete(far));
      soon(() => open.onConnection(far));
      await (latencyMs === 0 ? Promise.resolve() : sleep(clock, latencyMs * 2));
      return near;
    },

    cut(address) {
      const open = listeners.get(address);
      listeners.delete(address);
      for (const end of [...(open?.ends ?? [])]) end.lose('connection lost');
    },
  };
}

/** One side of a connection. */
class End implements Connection {
  readonly remote: string;
  peer!: End;
  readonly #maxFrameBytes: number;
  readonly #soon: (run: () => void) => void;
  #closedWhy: string | undefined;
  #onFrame: ((frame: Uint8Array) => void) | undefined;
  #closeHandlers: ((why: string) => void)[] = [];
  #waiting: { bytes: number; resolve: () => void }[] = [];
  /** Frames that arrived and that nobody has taken yet: before `onFrame`. */
  #held: Uint8Array[] = [];
  /** Bytes sent and not yet taken by the other side's handler. */
  #buffered = 0;

  constructor(remote: string, maxFrameBytes: number, soon: (run: () => void) => void) {
    this.remote = remote;
    this.#maxFrameBytes = maxFrameBytes;
    this.#soon = soon;
  }

  send(head: Uint8Array, tail?: Uint8Array): void {
    if (this.#closedWhy !== undefined) return;
    const frame = tail ? Buffer.concat([head, tail]) : head;
    this.#buffered += frame.length;
    this.#soon(() => this.peer.#arrive(frame));
  }

  buffered(): number {
    return this.#buffered;
  }

  drained(bytes: number): Promise<void> {
    if (this.#closedWhy !== undefined || this.#buffered < bytes || this.#buffered === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ bytes, resolve }));
  }

  onFrame(handler: (frame: Uint8Array) => void): void {
    this.#onFrame = AsyncLocalStorage.bind(handler);
    this.#soon(() => {
      for (const frame of this.#held.splice(0)) this.#take(frame);
    });
  }

  onClose(handler: (why: string) => void): void {
    const bound = AsyncLocalStorage.bind(handler);
    const why = this.#closedWhy;
    if (why === undefined) this.#closeHandlers.push(bound);
    else queueMicrotask(() => bound(why));
  }

  close(): void {
    if (this.#closedWhy !== undefined) return;
    this.#soon(() => this.peer.#ended('closed by the other side'));
    this.#ended('closed');
  }

  /** Both sides end at once; what is on the way is lost. */
  lose(why: string): void {
    this.#ended(why);
    this.peer.#ended(why);
  }

  #arrive(frame: Uint8Array): void {
    if (this.#closedWhy !== undefined) return;
    if (frame.length > this.#maxFrameBytes) {
      this.peer.#soon(() => this.peer.#ended('frame too large'));
      this.#ended('frame too large');
      return;
    }
    if (this.#onFrame && this.#held.length === 0) this.#take(frame.slice());
    else this.#held.push(frame.slice());
  }

  #take(frame: Uint8Array): void {
    this.peer.#left(frame.length);
    if (this.#closedWhy === undefined) this.#onFrame?.(frame);
  }

  #left(bytes: number): void {
    this.#buffered -= bytes;
    const ready = this.#waiting.filter((waiter) => this.#buffered < waiter.bytes || this.#buffered === 0);
    this.#waiting = this.#waiting.filter((waiter) => !ready.includes(waiter));
    for (const waiter of ready) waiter.resolve();
  }

  #ended(why: string): void {
    if (this.#closedWhy !== undefined) return;
    this.#closedWhy = why;
    this.#buffered = 0;
    this.#held = [];
    for (const waiter of this.#waiting.splice(0)) waiter.resolve();
    const handlers = this.#closeHandlers.splice(0);
    queueMicrotask(() => {
      for (const handler of handlers) handler(why);
    });
  }
}

function pair(address: string, client: string, maxFrameBytes: { near: number; far: number }, soon: (run: () => void) => void): [End, End] {
  const near = new End(address, maxFrameBytes.near, soon);
  const far = new End(client, maxFrameBytes.far, soon);
  near.peer = far;
  far.peer = near;
  return [near, far];
}
