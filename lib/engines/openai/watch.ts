// Watches one server: asks it what it is when it is first seen and each time it comes back, then how it is, whether it is
// paused, and how busy. Each question goes its own way: a server that is slow to answer one is not left without the others.
// Says why it takes no requests, within one pause of that, and within one that it takes them again.
import { refusal, toRefusal } from '../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../proto/gen/messages.ts';
import type { Clock } from '../../ports/clock.ts';
import { type ProbeOptions, probeServer } from './capabilities.ts';
import { isAway } from './client.ts';
import { askWithinMs, type ServerLoad } from './dialects/dialect.ts';
import { dialects } from './dialects/dialects.ts';
import { readSamples, sumOf } from './exposition.ts';
import type { ServerFacts } from './facts.ts';
import { Repeated } from './repeated.ts';

export interface WatchOptions extends ProbeOptions {
  readonly clock: Clock;
  /** Pause between an answer and the next question of its kind, ms. */
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
  readonly #meeting: Repeated;
  readonly #questions: readonly Repeated[];
  #facts: ServerFacts | undefined;
  /** Why it is to be asked what it is before it gets a request: it was away, and may have come back as something else. */
  #away: Refusal | undefined;
  /** Why it takes none, by its own word. */
  #stopped: Refusal | undefined;
  #load: Loaded | undefined;
  #startedAtS: number | undefined;
  #answeredMs: number;
  #closed = false;

  constructor(options: WatchOptions) {
    this.#options = options;
    const { clock, client, pollMs } = options;
    const failed = (thrown: unknown) => this.#failed(thrown);
    const again = (ask: () => Promise<void>) => new Repeated({ clock, pauseMs: () => (this.unfit ? this.#awayPollMs : pollMs), ask, failed });
    this.#away = refusal('engine_unavailable', `${client.url} has not been asked yet`);
    this.#answeredMs = clock.now();
    this.#meeting = again(() => this.#meet());
    this.#questions = [again(() => this.#askHealth()), again(() => this.#askWhetherStopped()), again(() => this.#askMetrics())];
    this.#meeting.start();
  }

  /** Settled when it is known whether the server is there. */
  readonly asked = this.#first.promise;

  /** As it last was; undefined: it was never there. */
  get facts(): ServerFacts | undefined {
    return this.#facts;
  }

  /** Why it gets no requests. */
  get unfit(): Refusal | undefined {
    return this.#away ?? this.#stopped;
  }

  /** Undefined: it has no metrics, or they are too old. */
  get load(): Loaded | undefined {
    return this.#load && this.#options.clock.now() - this.#load.atMs <= staleMs ? this.#load : undefined;
  }

  /** It takes requests, and answers, on streams or to questions. */
  get isAlive(): boolean {
    return !this.unfit && this.#isHeard;
  }

  /** A call to it has failed: look now. */
  look(): void {
    for (const question of [this.#meeting, ...this.#questions]) question.hurry();
  }

  stop(): void {
    this.#closed = true;
    for (const question of [this.#meeting, ...this.#questions]) question.stop();
  }

  get #isHeard(): boolean {
    return this.#options.clock.now() - Math.max(this.#answeredMs, this.#options.heardMs()) <= silentMs;
  }

  get #awayPollMs(): number {
    return Math.min(longestAwayPollMs, this.#options.pollMs);
  }

  /** It gets requests once it has said what it is, that it is well, and that it is not paused. */
  async #meet(): Promise<void> {
    const found = (await this.#illness()) ?? (await probeServer(this.#options));
    if ('code' in found) return this.#leave(found);
    this.#facts = found;
    this.#load = undefined;
    this.#startedAtS = undefined;
    await Promise.all([this.#askWhetherStopped(), this.#readMetrics()]);
    if (this.#closed) return;
    this.#away = undefined;
    this.#meeting.stop();
    for (const question of this.#questions) question.start();
    this.#say();
  }

  async #askHealth(): Promise<void> {
    const ill = await this.#illness();
    if (ill) this.#leave(ill);
  }

  /** Servers without such a path answer 404, and they do answer. */
  async #illness(): Promise<Refusal | undefined> {
    const { client } = this.#options;
    const { status } = await client.get('/health', askWithinMs);
    this.#heard();
    if (status < 500) return undefined;
    return refusal('engine_unavailable', `${client.url}/health answers ${status}: its engine is dead, or not ready yet`, 1_000);
  }

  async #askWhetherStopped(): Promise<void> {
    const { client } = this.#options;
    const { pause, kind } = this.#facts!;
    const why = pause ? await dialects[kind].stopped?.(client) : undefined;
    if (pause) this.#heard();
    const before = this.#stopped;
    this.#stopped = why === undefined ? undefined : refusal('engine_unavailable', `${client.url}: ${why}`, 1_000);
    if (before?.message !== this.#stopped?.message) this.#say();
  }

  async #askMetrics(): Promise<void> {
    if (!this.#facts!.metrics) return;
    const { url } = this.#options.client;
    if ((await this.#readMetrics()) === 'another process') this.#leave(refusal('engine_unavailable', `${url} has been started again`, 1_000), 0);
    else this.#say();
  }

  async #readMetrics(): Promise<'another process' | undefined> {
    if (!this.#facts!.metrics) return undefined;
    const { status, body } = await this.#options.client.get('/metrics', askWithinMs);
    this.#heard();
    return status === 200 && this.#read(body.toString()) ? 'another process' : undefined;
  }

  /** Returns whether it is another process than it was. */
  #read(text: string): boolean {
    const dialect = dialects[this.#facts!.kind];
    const samples = readSamples(text, new Set([...dialect.metricNames, startedAt]));
    this.#load = { ...dialect.load(samples), atMs: this.#options.clock.now() };
    const startedAtS = sumOf(samples, startedAt);
    const restarted = this.#startedAtS !== undefined && startedAtS !== undefined && startedAtS !== this.#startedAtS;
    this.#startedAtS = startedAtS;
    return restarted;
  }

  #heard(): void {
    this.#answeredMs = this.#options.clock.now();
  }

  #failed(thrown: unknown): void {
    const { client } = this.#options;
    if (!isAway(thrown)) this.#leave(refusal('engine_error', `${client.url}: ${toRefusal(thrown).message}`));
    else if (this.#away || thrown.code !== 'timeout' || !this.#isHeard)
      this.#leave(refusal('engine_unavailable', `${thrown.message}. Is the server running, and is this its address?`, 1_000));
  }

  /** It gets nothing until it has been asked what it is: after so long, and again until it says it. */
  #leave(why: Refusal, delayMs = this.#awayPollMs): void {
    if (this.#closed) return;
    this.#away = why;
    for (const question of this.#questions) question.stop();
    this.#meeting.start(delayMs);
    this.#say();
  }

  #say(): void {
    if (this.#closed) return;
    this.#first.resolve();
    this.#options.onChange();
  }
}
