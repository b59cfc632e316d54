// A server that speaks the OpenAI API (vLLM, SGLang, llama-server, any other) behind the adapter interface: which requests it
// gets and when, what its streams say, how full it is, and whether it takes any.
import { refusal } from '../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../proto/gen/messages.ts';
import type { OpenaiEngineConfig } from '../../config/fleet.ts';
import { type Cancel, type Clock, every } from '../../ports/clock.ts';
import type { Capability, EngineAdapter, EngineEvent, EngineHooks, EngineStatus, GenerateRequest, LifecycleEvent } from '../../ports/engines.ts';
import type { Http } from '../../ports/http.ts';
import { refusalOfAnswer } from './answered.ts';
import { asFields, parsed } from './chunk.ts';
import { createClient, type Fields, type ServerClient } from './client.ts';
import { batchesOf } from './event-batch.ts';
import { capabilitiesOf, type ServerFacts } from './facts.ts';
import { Generation, type GenerationHost } from './generation.ts';
import { type MovableEngine, movingHost } from './kv/movable.ts';
import { ServerKv } from './kv/server-kv.ts';
import { kvFormatOf, wayOf } from './kv/ways.ts';
import { ServerCache } from './kv-events/server-cache.ts';
import { Occupancy } from './occupancy.ts';
import { promptOf } from './resume.ts';
import { ServerWatch } from './watch.ts';

export interface OpenaiEngineOptions {
  readonly config: OpenaiEngineConfig;
  /** Of the server, without a path. */
  readonly url: string;
  readonly apiKey: string | undefined;
  /** The name that answers carry. */
  readonly model: string;
  readonly http: Http;
  readonly clock: Clock;
  readonly hooks: EngineHooks;
  /** Where its KV events are published, and repeated. */
  readonly kvEvents?: { readonly events: string; readonly replay: string | undefined } | undefined;
}

const retryFullMs = 500;
const probeWithinMs = 900;
/** An answer that does not stream is silent for long: this often it is said that it is still being made. */
const aliveEveryMs = 5_000;

export class OpenaiEngine implements EngineAdapter {
  readonly engine = 'openai';
  readonly client: ServerClient;
  readonly watch: ServerWatch;
  /** It takes requests from then on, unless `unfit` says why it does not. */
  readonly ready: Promise<undefined>;
  readonly generations = new Map<string, Generation>();
  readonly options: OpenaiEngineOptions;
  readonly kv: ServerKv;
  readonly #cache: ServerCache | undefined;
  readonly #host: GenerationHost;
  readonly #occupancy: Occupancy;
  #supports: ReadonlySet<Capability> = new Set();
  #supportsOf: ServerFacts | undefined;
  #events: { from: Generation; event: EngineEvent }[] = [];
  #cancelFlush: Cancel | undefined;
  readonly #cancelAlive: Cancel;
  readonly #began = new Map<Generation, { startedMs: number; lastMs: number | undefined }>();
  #heardMs: number;
  #closed = false;

  constructor(options: OpenaiEngineOptions) {
    const { config, clock, http, url, apiKey } = options;
    this.options = options;
    this.client = createClient({ url, apiKey, http, clock });
    this.#host = {
      client: this.client,
      model: options.model,
      say: (from, event) => this.#say(from, event),
      over: (from, error) => this.#over(from, error),
      heard: () => {
        this.#heardMs = clock.now();
      },
      promptKnown: ({ request }, ids) => this.#cache?.served(request.endpoint, request.body, ids),
    };
    this.#occupancy = new Occupancy(config);
    this.#heardMs = clock.now();
    this.watch = new ServerWatch({
      client: this.client,
      kind: config.kind,
      model: config.model,
      clock,
      pollMs: config.pollMs,
      heardMs: () => this.#heardMs,
      onChange: () => this.#watched(),
    });
    this.kv = new ServerKv(movingHost(this.#movable()), wayOf({ client: this.client, clock, config, facts: () => this.watch.facts }));
    const { kvEvents } = options;
    this.#cache = kvEvents && new ServerCache({ ...kvEvents, clock, onChange: () => options.hooks.onChange() });
    this.ready = this.watch.asked.then(() => undefined);
    this.#cancelAlive = every(clock, aliveEveryMs, () => this.#sayAlive());
  }

  get size(): number {
    return this.generations.size;
  }

  get supports(): ReadonlySet<Capability> {
    const { facts } = this.watch;
    const cache = this.#cache?.isUp === true;
    if (facts && (facts !== this.#supportsOf || cache !== this.#supports.has('kv_events'))) {
      const more: Capability[] = [
        ...(kvFormatOf(facts, this.options.config) ? (['kv_pull'] as const) : []),
        ...(cache ? (['kv_events'] as const) : []),
      ];
      this.#supports = new Set([...capabilitiesOf(facts), ...more]);
      this.#supportsOf = facts;
    }
    return this.#supports;
  }

  cachedPrefixes(): { readonly version: number; readonly hashes: readonly number[] } | undefined {
    return this.#cache?.cached();
  }

  unfit(): Refusal | undefined {
    return this.watch.unfit;
  }

  status(): EngineStatus {
    const { facts, load } = this.watch;
    return {
      ...this.#occupancy.status(this.generations.values(), facts),
      software: facts?.software ?? '',
      kvFormat: kvFormatOf(facts, this.options.config),
      cachedBlocks: this.#cache?.blocks ?? 0,
      profile: facts?.kind ?? '',
      ...(load ? { loadAtMs: load.atMs } : {}),
    };
  }

  open(request: GenerateRequest, held: boolean): Refusal | undefined {
    if (this.#closed) return refusal('draining', 'this instance is stopping', 100);
    const { unfit } = this.watch;
    if (unfit) return unfit;
    if (request.reservationId !== '') return this.#takeOver(request, held);
    const fields = fieldsOf(request);
    if (!fields) return refusal('invalid_json', 'the body is not a JSON object');
    const missing =
      request.endpoint === 'completions' ? fields.prompt === undefined : !Array.isArray(fields.messages) || fields.messages.length === 0;
    if (missing) return refusal('invalid_request', request.endpoint === 'completions' ? 'the body has no prompt' : 'the body has no messages');
    const waiting = this.#waiting();
    if (this.#started() >= this.#maxRunning && waiting.length >= this.options.config.maxWaiting)
      return refusal('queue_full', `${waiting.length} requests wait for ${this.client.url}`, retryFullMs);
    const generation = new Generation(this.#host, request, fields, held);
    this.generations.set(keyOf(request), generation);
    this.#startNext();
    this.options.hooks.onChange();
    return undefined;
  }

  /** Continues with the KV that a reservation holds; what the gateway may not have got is told again. */
  #takeOver(request: GenerateRequest, held: boolean): Refusal | undefined {
    const taken = this.kv.takeOver(request);
    if ('code' in taken) return taken;
    const fields = fieldsOf(taken.request) ?? {};
    const { promptIds, extra, told } = taken;
    const generation = new Generation(this.#host, taken.request, fields, held, { promptIds, extra });
    this.generations.set(keyOf(request), generation);
    const { requestId, epoch } = request;
    for (const event of told) this.#say(generation, { requestId, epoch, finishReason: '', finalBody: new Uint8Array(0), ...event });
    this.#startNext();
    this.options.hooks.onChange();
    return undefined;
  }

  #movable(): MovableEngine {
    const { clock, model, hooks } = this.options;
    return {
      clock,
      model,
      generations: this.generations,
      flush: () => this.#flush(),
      promptIds: (request) => promptOf(this.client, this.watch.facts!, request, fieldsOf(request) ?? {}),
      replace: (before, { request, promptIds }) => {
        this.#began.delete(before);
        const after = new Generation(this.#host, request, before.fields, before.held, promptIds && { promptIds });
        after.paused = true;
        this.generations.set(keyOf(request), after);
      },
      startNext: () => this.#startNext(),
      release: (generation) => {
        this.#tell(generation, 'released');
        generation.cancel();
        this.#forget(generation);
      },
      tell: (generation, type) => this.#tell(generation, type),
      maxRunning: () => this.#maxRunning,
      started: () => this.#started(),
      changed: () => hooks.onChange(),
    };
  }

  cancel(requestId: string, epoch: number): void {
    const generation = this.generations.get(keyOf({ requestId, epoch }));
    if (!generation) return;
    generation.cancel();
    this.#forget(generation);
  }

  hold(requestId: string, epoch: number, held: boolean): void {
    const generation = this.generations.get(keyOf({ requestId, epoch }));
    if (!generation || generation.held === held) return;
    generation.hold(held);
    this.#startNext();
  }

  async probe(): Promise<Refusal | undefined> {
    const { unfit, facts } = this.watch;
    if (unfit || !facts) return unfit;
    const tiny = { model: facts.model, max_tokens: 1, temperature: 0 };
    try {
      let answer = await this.client.post('/v1/completions', { ...tiny, prompt: 'Hi' }, probeWithinMs);
      if (answer.status === 404) {
        answer = await this.client.post('/v1/chat/completions', { ...tiny, messages: [{ role: 'user', content: 'Hi' }] }, probeWithinMs);
      }
      return answer.status === 200 ? undefined : refusalOfAnswer(this.client.url, answer.status, answer.headers, answer.body.toString());
    } catch (thrown) {
      this.watch.look();
      return refusal('engine_unavailable', (thrown as Error).message);
    }
  }

  close(): void {
    this.#closed = true;
    this.kv.close();
    this.#cache?.close();
    this.watch.stop();
    this.#cancelAlive();
    this.#cancelFlush?.();
    this.#events = [];
    for (const generation of this.generations.values()) generation.cancel();
    this.generations.clear();
    this.#began.clear();
  }

  get #maxRunning(): number {
    return this.#occupancy.maxRunning(this.watch.facts);
  }

  #started(): number {
    let count = 0;
    for (const { phase } of this.generations.values()) if (phase !== 'waiting') count++;
    return count;
  }

  #waiting(): Generation[] {
    return [...this.generations.values()].filter(({ phase }) => phase === 'waiting');
  }

  /** In the order in which they came. */
  #startNext(): void {
    const { facts, unfit } = this.watch;
    if (!facts || unfit) return;
    let room = this.#maxRunning - this.#started();
    for (const generation of this.#waiting()) {
      if (room <= 0) break;
      if (generation.held || generation.paused) continue;
      room--;
      this.#began.set(generation, { startedMs: this.options.clock.now(), lastMs: undefined });
      this.#tell(generation, 'admitted');
      void generation.start(facts);
    }
    this.#occupancy.count(this.generations.values(), facts);
  }

  #say(from: Generation, event: EngineEvent): void {
    this.#measure(from, event);
    this.#events.push({ from, event });
    this.#cancelFlush ??= this.options.clock.after(0, () => this.#flush());
  }

  #measure(from: Generation, event: EngineEvent): void {
    const count = event.pieces?.count ?? event.tokenIds.length;
    const began = this.#began.get(from);
    if (count === 0 || !began) return;
    const nowMs = this.options.clock.now();
    if (began.lastMs === undefined) this.#occupancy.prefilled(from.promptTokens, nowMs - began.startedMs);
    this.#occupancy.produced(count, began.lastMs === undefined ? undefined : nowMs - began.lastMs);
    began.lastMs = nowMs;
  }

  #flush(): void {
    this.#cancelFlush = undefined;
    const events = this.#events.filter(({ from }) => !from.silenced).map(({ event }) => event);
    this.#events = [];
    for (const batch of batchesOf(events)) {
      if (batch.some(({ tokenIds, pieces }) => tokenIds.length > 0 || pieces)) this.#occupancy.stepped();
      this.options.hooks.onEvents(batch);
    }
  }

  #over(generation: Generation, error: Refusal | undefined): void {
    this.#forget(generation);
    if (error?.code === 'engine_unavailable' || error?.code === 'engine_error') this.watch.look();
  }

  #forget(generation: Generation): void {
    this.#occupancy.count(this.generations.values(), this.watch.facts);
    this.generations.delete(keyOf(generation.request));
    this.#began.delete(generation);
    this.#startNext();
    this.options.hooks.onChange();
  }

  #watched(): void {
    const { facts, load, unfit } = this.watch;
    this.#occupancy.measured(load, this.generations.values(), facts);
    if (unfit) for (const generation of this.#waiting()) generation.refuse(unfit);
    else this.#startNext();
    this.options.hooks.onChange();
  }

  #sayAlive(): void {
    if (!this.watch.isAlive) return;
    for (const generation of this.generations.values()) if (generation.isSilent) generation.sayAlive();
  }

  #tell({ request }: Generation, type: LifecycleEvent['type']): void {
    this.options.hooks.onLifecycle({ requestId: request.requestId, epoch: request.epoch, type });
  }
}

function fieldsOf({ body }: GenerateRequest): Fields | undefined {
  return asFields(parsed(Buffer.from(body.buffer, body.byteOffset, body.length).toString()));
}

function keyOf({ requestId, epoch }: { requestId: string; epoch: number }): string {
  return `${requestId}@${epoch}`;
}
