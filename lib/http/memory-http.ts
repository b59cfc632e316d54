// HTTP inside one process: the twin of lib/http/node-http.ts, with a client (`fetch`) that can be slow and can leave.
import { AsyncLocalStorage } from 'node:async_hooks';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { type Clock, sleep } from '../ports/clock.ts';
import type { Http, HttpCall, HttpHandler, HttpRequest, HttpResponse, RunningCall } from '../ports/http.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { failureBody } from './failure.ts';

export interface MemoryFetchOptions {
  /** Default GET, or POST when there is a body. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array | AsyncIterable<Uint8Array>;
  /** Aborting is the client leaving. */
  readonly signal?: AbortSignal;
}

export interface MemoryReply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** The body as it comes; what is not taken is back-pressure. Ends early (without an error) when the client left or was cut. */
  chunks(): AsyncIterable<Uint8Array>;
  /** The rest of the body. */
  text(): Promise<string>;
  json(): Promise<unknown>;
  /** Lines of an event stream, without the empty ones, as they come. */
  lines(): AsyncIterable<string>;
  /** The client leaves. */
  leave(): void;
  /** True: the server ended the body. False: it was cut, or the client left. */
  readonly complete: boolean;
}

export interface MemoryHttp extends Http {
  /**
   * `url` is an address that was served, and a path. Resolves when the head has been sent.
   * @throws SwitchyardError `unreachable` | `client_left`
   */
  fetch(url: string, options?: MemoryFetchOptions): Promise<MemoryReply>;
}

/** `write` returns false above this many bytes that the client has not taken. */
const highWaterBytes = 64 * 1024;

export interface MemoryHttpOptions {
  readonly telemetry?: Telemetry;
  /** Measures `close(withinMs)`. Without one, running responses are cut at once. */
  readonly clock?: Clock;
}

export function createMemoryHttp(options: MemoryHttpOptions = {}): MemoryHttp {
  const { telemetry, clock } = options;
  const servers = new Map<string, { handler: HttpHandler; running: Set<Exchange> }>();
  let nextPort = 50_000;

  const memory: MemoryHttp = {
    call: (call) => callMemory(memory, call),

    async serve({ host, port }, handler) {
      const address = `http://${host}:${port === 0 ? nextPort++ : port}`;
      if (servers.has(address)) throw new SwitchyardError('port_taken', `${address} is in use`);
      const server = { handler: AsyncLocalStorage.bind(handler), running: new Set<Exchange>() };
      servers.set(address, server);
      return {
        address,
        async close(withinMs) {
          servers.delete(address);
          const ended = Promise.all([...server.running].map((exchange) => exchange.over));
          if (clock) {
            const stop = new AbortController();
            await Promise.race([ended, sleep(clock, withinMs, stop.signal)]);
            stop.abort();
          }
          for (const exchange of server.running) exchange.cut();
        },
      };
    },

    async fetch(url, options = {}) {
      const parsed = new URL(url);
      const server = servers.get(`http://${parsed.hostname}:${parsed.port || 80}`);
      if (!server) throw new SwitchyardError('unreachable', `nobody serves ${parsed.host}`);
      const exchange = new Exchange(parsed, options);
      server.running.add(exchange);
      void exchange.over.then(() => server.running.delete(exchange));
      queueMicrotask(() => {
        const failed = (thrown: unknown) => {
          telemetry?.counter('switchyard_http_handler_failures_total').add(1);
          telemetry?.log.error('http handler failed', { path: parsed.pathname, error: String(thrown) });
          exchange.fail();
        };
        try {
          Promise.resolve(server.handler(exchange.request, exchange.response)).catch(failed);
        } catch (thrown) {
          failed(thrown);
        }
      });
      return exchange.reply;
    },
  };
  return memory;
}

/** `call` in terms of `fetch`. */
function callMemory(memory: MemoryHttp, call: HttpCall): RunningCall {
  const aborting = new AbortController();
  let paused: PromiseWithResolvers<void> | undefined;

  async function run(): Promise<void> {
    const { method, headers, body } = call;
    const reply = await memory.fetch(call.url, { method, headers, signal: aborting.signal, ...(body && { body }) });
    if (aborting.signal.aborted) return;
    call.onHead(reply.status, reply.headers);
    for await (const bytes of reply.chunks()) {
      await paused?.promise;
      if (aborting.signal.aborted) return;
      call.onData(bytes);
    }
    if (aborting.signal.aborted) return;
    if (reply.complete) call.onEnd();
    else call.onFailed(new SwitchyardError('unreachable', `${call.url}: the connection broke before the answer was whole`));
  }

  run().catch((thrown: unknown) => {
    if (aborting.signal.aborted) return;
    if (!(thrown instanceof SwitchyardError)) throw thrown;
    call.onFailed(new SwitchyardError('unreachable', `${call.url}: ${thrown.message}`, { cause: thrown }));
  });
  return {
    pause() {
      paused ??= Promise.withResolvers();
    },
    resume() {
      paused?.resolve();
      paused = undefined;
    },
    abort() {
      aborting.abort();
      paused?.resolve();
    },
  };
}

/** One request and its response. */
class Exchange {
  readonly request: HttpRequest;
  readonly response: HttpResponse;
  readonly reply: Promise<MemoryReply>;
  readonly over: Promise<void>;
  #resolveReply!: (reply: MemoryReply) => void;
  #rejectReply!: (thrown: unknown) => void;
  #resolveOver!: () => void;
  #headSent = false;
  #state: 'running' | 'ended' | 'left' | 'cut' = 'running';
  #chunks: Uint8Array[] = [];
  #buffered = 0;
  #wakeReader: (() => void) | undefined;
  #drainWaiters: (() => void)[] = [];
  #leftHandlers: (() => void)[] = [];
  #leftSignal = Promise.withResolvers<void>();

  constructor(url: URL, options: MemoryFetchOptions) {
    this.reply = new Promise((resolve, reject) => {
      this.#resolveReply = resolve;
      this.#rejectReply = reject;
    });
    this.over = new Promise((resolve) => {
      this.#resolveOver = resolve;
    });
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(options.headers ?? {})) headers[name.toLowerCase()] = value;
    this.request = {
      method: options.method ?? (options.body === undefined ? 'GET' : 'POST'),
      path: url.pathname,
      query: url.searchParams,
      headers,
      body: (maxBytes) => this.#readBody(options.body, maxBytes),
    };
    this.response = this.#makeResponse();
    if (options.signal?.aborted) queueMicrotask(() => this.leave());
    options.signal?.addEventListener('abort', () => this.leave(), { once: true });
  }

  leave(): void {
    if (this.#state !== 'running') return;
    this.#stop('left');
    this.#rejectReply(new SwitchyardError('client_left', 'the client left'));
  }

  /** The server gives up on it: the client sees the body end in the middle. */
  cut(): void {
    if (this.#state !== 'running') return;
    this.#stop('cut');
    this.#rejectReply(new SwitchyardError('unreachable', 'the connection was cut'));
  }

  /** The handler threw. */
  fail(): void {
    if (this.#headSent) this.cut();
    else if (this.#state === 'running') {
      this.response.head(500, { 'content-type': 'application/json' });
      this.response.end(failureBody);
    }
  }

  #stop(state: 'ended' | 'left' | 'cut'): void {
    this.#state = state;
    this.#wakeReader?.();
    this.#resolveOver();
    for (const run of this.#drainWaiters.splice(0)) queueMicrotask(run);
    if (state === 'ended') return;
    this.#leftSignal.resolve();
    for (const run of this.#leftHandlers.splice(0)) queueMicrotask(run);
  }

  async #readBody(body: MemoryFetchOptions['body'], maxBytes: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    let size = 0;
    const add = (part: Uint8Array) => {
      size += part.length;
      if (size > maxBytes) throw new SwitchyardError('body_too_large', `the body is larger than ${maxBytes} bytes`);
      parts.push(part);
    };
    const read = async () => {
      if (typeof body === 'string') add(new TextEncoder().encode(body));
      else if (body instanceof Uint8Array) add(body.slice());
      else if (body) for await (const part of body) add(part);
    };
    const left = this.#leftSignal.promise.then(() => Promise.reject(new SwitchyardError('client_left', 'the client left while it sent the body')));
    left.catch(() => {});
    await Promise.race([read(), left]);
    if (this.#state === 'left' || this.#state === 'cut') throw new SwitchyardError('client_left', 'the client left while it sent the body');
    return Buffer.concat(parts);
  }

  #makeResponse(): HttpResponse {
    const accept = (bytes: Uint8Array | string) => {
      if (!this.#headSent) throw new Error('the head must be sent before the body');
      if (this.#state !== 'running') return;
      const chunk = typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes.slice();
      if (chunk.length === 0) return;
      this.#chunks.push(chunk);
      this.#buffered += chunk.length;
      this.#wakeReader?.();
    };
    const exchange = this;
    return {
      head(status, headers) {
        if (exchange.#headSent) throw new Error('the head was sent before');
        exchange.#headSent = true;
        exchange.#resolveReply(exchange.#makeReply(status, headers));
      },
      write(bytes) {
        accept(bytes);
        return exchange.#buffered < highWaterBytes;
      },
      end(bytes) {
        if (bytes !== undefined) accept(bytes);
        else if (!exchange.#headSent) throw new Error('the head must be sent before the end');
        if (exchange.#state === 'running') exchange.#stop('ended');
      },
      onDrain(run) {
        if (exchange.#buffered === 0 || exchange.#state !== 'running') queueMicrotask(run);
        else exchange.#drainWaiters.push(AsyncLocalStorage.bind(run));
      },
      onClientLeft(run) {
        const bound = AsyncLocalStorage.bind(run);
        if (exchange.#state === 'left' || exchange.#state === 'cut') queueMicrotask(bound);
        else exchange.#leftHandlers.push(bound);
      },
      get headSent() {
        return exchange.#headSent;
      },
      buffered: () => exchange.#buffered,
    };
  }

  #makeReply(status: number, sent: Readonly<Record<string, string>>): MemoryReply {
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(sent)) headers[name.toLowerCase()] = value;
    const exchange = this;
    const chunks = () => this.#read();
    const text = async () => {
      const decoder = new TextDecoder();
      let whole = '';
      for await (const chunk of chunks()) whole += decoder.decode(chunk, { stream: true });
      return whole + decoder.decode();
    };
    return {
      status,
      headers,
      chunks,
      text,
      json: async () => JSON.parse(await text()),
      async *lines() {
        const decoder = new TextDecoder();
        let rest = '';
        for await (const chunk of chunks()) {
          const parts = (rest + decoder.decode(chunk, { stream: true })).split('\n');
          rest = parts.pop() ?? '';
          for (const line of parts) if (line.trim() !== '') yield line.trimEnd();
        }
        if (rest.trim() !== '') yield rest;
      },
      leave: () => this.leave(),
      get complete() {
        return exchange.#state === 'ended';
      },
    };
  }

  async *#read(): AsyncIterable<Uint8Array> {
    for (;;) {
      const chunk = this.#state === 'left' ? undefined : this.#chunks.shift();
      if (chunk) {
        this.#buffered -= chunk.length;
        if (this.#buffered === 0) for (const run of this.#drainWaiters.splice(0)) queueMicrotask(run);
        yield chunk;
      } else if (this.#state !== 'running') return;
      else {
        await new Promise<void>((resolve) => {
          this.#wakeReader = resolve;
        });
        this.#wakeReader = undefined;
      }
    }
  }
}
