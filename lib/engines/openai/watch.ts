// Watches one server: asks it what it is when it is first seen and each time it comes back, then how it is, whether it is
// paused, and how busy. Says why it takes no requests, within one round of that, and within one round that it takes them again.
import { refusal, toRefusal } from '../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../proto/gen/messages.ts';
import type { Cancel, Clock } from '../../ports/clock.ts';
import { type ProbeOptions, probeServer } from './capabilities.ts';
import { isAway } from './client.ts';
import { askWithinMs, type ServerLoad } from './dialects/dialect.ts';
import { dialects } from './dialects/dialects.ts';
import { readSamples, sumOf } from './exposition.ts';
import type { ServerFacts } from './facts.ts';

export interface WatchOptions extends ProbeOptions {
  readonly clock: Clock;
  /** Pause between two rounds, ms. */
  readonly pollMs: number;
  /** When the server last said anything on a stream, ms. */
  readonly heardMs: () => number;
  /** What it is, whether it takes requests, or its load has changed. */
  readonly onChange: () => void;
}

/** While it is away: half of the second within which a server that is back is to be used. */
const longestAwayPollMs = 400;
/** A busy server may be slow to say how it is. Silent for longer, on streams too, it counts as away. */
const silentMs = 5_000;
/** Metrics older than this are not relied on. */
const staleMs = 5_000;
const startedAt = 'process_start_time_seconds';

export interface Loaded extends ServerLoad {
  readonly atMs: number;
}

export class ServerWatch {
  readonly #options: WatchOptions;
  readonly #first = Promise.withResolvers<void>();
  #facts: ServerFacts | undefined;
  #unfit: Refusal | undefined;
  #load: Loaded | undefined;
  #startedAtS: number | undefined;
  /** To be asked what it is before it gets a request: it was away, and may have come back as something else. */
  #isNew = true;
  #answeredMs: number;
  #running = false;
  #again = false;
  #stopped = false;
  #cancel: Cancel = () => {};

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#unfit = refusal('engine_unavailable', `${options.client.url} has not been asked yet`);
    this.#answeredMs = options.clock.now();
    this.#cancel = options.clock.after(0, () => void this.#round());
  }

  /** Settled when it is known whether the server is there. */
  readonly asked = this.#first.promise;

  /** As it last was; undefined: it was never there. */
  get facts(): ServerFacts | undefined {
    return this.#facts;
  }

  /** Why it gets no requests. */
  get unfit(): Refusal | undefined {
    return this.#unfit;
  }

  /** Undefined: it has no metrics, or they are too old. */
  get load(): Loaded | undefined {
    return this.#load && this.#options.clock.now() - this.#load.atMs <= staleMs ? this.#load : undefined;
  }

  /** It answers, on streams or to questions. */
  get isAlive(): boolean {
    return !this.#unfit && this.#options.clock.now() - Math.max(this.#answeredMs, this.#options.heardMs()) <= silentMs;
  }

  /** A call to it has failed: look now. */
  look(): void {
    if (this.#stopped) return;
    if (this.#running) this.#again = true;
    else {
      this.#cancel();
      this.#cancel = this.#options.clock.after(0, () => void this.#round());
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  async #round(): Promise<void> {
    this.#running = true;
    this.#again = false;
    let unfit: Refusal | undefined;
    try {
      unfit = this.#isNew ? await this.#meet() : await this.#ask();
      this.#answeredMs = this.#options.clock.now();
    } catch (thrown) {
      unfit = this.#failed(thrown);
    }
    this.#running = false;
    if (this.#stopped) return;
    this.#say(unfit);
    const pauseMs = this.#again ? 0 : unfit ? Math.min(longestAwayPollMs, this.#options.pollMs) : this.#options.pollMs;
    this.#cancel = this.#options.clock.after(pauseMs, () => void this.#round());
  }

  async #meet(): Promise<Refusal | undefined> {
    const found = await probeServer(this.#options);
    if ('code' in found) return found;
    this.#facts = found;
    this.#load = undefined;
    this.#startedAtS = undefined;
    this.#isNew = false;
    return this.#ask();
  }

  async #ask(): Promise<Refusal | undefined> {
    const { client } = this.#options;
    const facts = this.#facts!;
    const dialect = dialects[facts.kind];
    const [health, stopped, metrics] = await Promise.all([
      client.get('/health', askWithinMs),
      facts.pause ? dialect.stopped?.(client) : undefined,
      facts.metrics ? client.get('/metrics', askWithinMs) : undefined,
    ]);
    // Servers without such a path answer 404, and they do answer.
    if (health.status >= 500) {
      this.#isNew = true;
      return refusal('engine_unavailable', `${client.url}/health answers ${health.status}: its engine is dead, or not ready yet`, 1_000);
    }
    if (metrics?.status === 200 && this.#read(metrics.body.toString(), facts)) return this.#meet();
    return stopped === undefined ? undefined : refusal('engine_unavailable', `${client.url}: ${stopped}`, 1_000);
  }

  /** Returns whether it is another process than it was. */
  #read(text: string, { kind }: ServerFacts): boolean {
    const dialect = dialects[kind];
    const samples = readSamples(text, new Set([...dialect.metricNames, startedAt]));
    this.#load = { ...dialect.load(samples), atMs: this.#options.clock.now() };
    const startedAtS = sumOf(samples, startedAt);
    const restarted = this.#startedAtS !== undefined && startedAtS !== undefined && startedAtS !== this.#startedAtS;
    this.#startedAtS = startedAtS;
    return restarted;
  }

  #failed(thrown: unknown): Refusal | undefined {
    const { client } = this.#options;
    if (!isAway(thrown)) return refusal('engine_error', `${client.url}: ${toRefusal(thrown).message}`);
    if (thrown.code === 'timeout' && !this.#unfit && this.isAlive) return undefined;
    this.#isNew = true;
    return refusal('engine_unavailable', `${thrown.message}. Is the server running, and is this its address?`, 1_000);
  }

  #say(unfit: Refusal | undefined): void {
    this.#unfit = unfit;
    this.#first.resolve();
    this.#options.onChange();
  }
}
