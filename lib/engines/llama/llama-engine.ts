// llama.cpp behind the adapter interface. The engine is a process of its own (child/): what kills it ends its sequences with
// an error, and it is started again. Queue, slots and answers are here, where no native code runs. Moving sequences: llama-kv.ts.
import { refusal, toRefusal } from '../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../proto/gen/messages.ts';
import type { LlamaEngineConfig } from '../../config/fleet.ts';
import { type Clock, sleep } from '../../ports/clock.ts';
import type { Capability, EngineAdapter, EngineEvent, EngineHooks, EngineStatus, GenerateRequest, LifecycleEvent } from '../../ports/engines.ts';
import { keyOf } from '../find-sequence.ts';
import type { StepReport } from './child/messages.ts';
import type { Loaded } from './engine-child.ts';
import { EngineHost, type RunningEngine } from './engine-host.ts';
import { blockTokens, errorEvent, factsOf, type Generation, generationOf, historyOf, speak, speakAgain, speakEnd, statusOf } from './generation.ts';
import { LlamaKv } from './llama-kv.ts';
import { type LlamaRequest, outputLimit, readRequest } from './request.ts';
import { Slots } from './slots.ts';
import { StateFolder } from './state-folder.ts';
import { StepAccount } from './step-account.ts';

export interface LlamaEngineOptions {
  /** The name that answers carry. */
  readonly model: string;
  readonly config: LlamaEngineConfig;
  /** Folder whose node_modules has node-llama-cpp; undefined: it is not here. */
  readonly packageDir: string | undefined;
  readonly modelFile: string;
  readonly pid: number;
  readonly clock: Clock;
  readonly hooks: EngineHooks;
}

/** Ended sequences remembered, to say why a late command finds nothing. */
const maxEnded = 1024;
const probeWithinMs = 900;

export class LlamaEngine implements EngineAdapter {
  readonly engine = 'llama';
  readonly supports = new Set<Capability>(['recompute', 'token_ids', 'continue:stop', 'continue:penalties', 'continue:guided']);
  readonly ready: Promise<Refusal | undefined>;
  readonly options: LlamaEngineOptions;
  readonly kv: LlamaKv;
  readonly slots: Slots;
  readonly generations = new Map<string, Generation>();
  readonly folder: StateFolder;
  readonly #byId = new Map<number, Generation>();
  readonly #waiting: Generation[] = [];
  readonly #ended = new Map<string, 'sequence_finished' | 'cancelled'>();
  readonly #account = new StepAccount();
  readonly #host: EngineHost;
  #closed = false;
  #lastId = 0;

  constructor(options: LlamaEngineOptions) {
    this.options = options;
    this.slots = new Slots(options.config.maxRunning);
    this.folder = new StateFolder(options.pid);
    if (options.config.prefixCache) this.supports.add('prefix_cache');
    this.kv = new LlamaKv(this);
    const { clock, packageDir, modelFile, config } = options;
    this.#host = new EngineHost({
      ...{ clock, packageDir, modelFile, config, folder: this.folder },
      onLoaded: (loaded, sample) => this.#onLoaded(loaded, sample),
      onLost: (why) => this.#onLost(why),
      onStep: (report) => this.#onStep(report),
      onChange: () => this.changed(),
    });
    this.ready = this.#host.start();
  }

  get size(): number {
    return this.generations.size;
  }

  /** The engine, once it is loaded and while it lives. */
  get running(): RunningEngine | undefined {
    return this.#host.running;
  }

  get fingerprint(): string {
    return `llama.cpp-${this.running?.loaded.facts.release ?? ''}`;
  }

  open(request: GenerateRequest, held: boolean): Refusal | undefined {
    if (this.#closed) return refusal('draining', 'this instance is stopping', 100);
    const key = keyOf(request.requestId, request.epoch);
    if (this.generations.has(key)) return undefined;
    if (!this.running) return this.#host.away();
    const opened = request.reservationId ? this.kv.takeOver(request, held) : this.#start(request, held);
    if ('code' in opened) return opened;
    this.#keep(opened);
    if (opened.phase === 'preparing') void this.#prepare(opened);
    else this.#enter(opened);
    this.changed();
    return undefined;
  }

  cancel(requestId: string, epoch: number): void {
    const generation = this.generations.get(keyOf(requestId, epoch));
    if (!generation) return;
    this.end(generation, 'cancelled');
    this.changed();
  }

  hold(requestId: string, epoch: number, held: boolean): void {
    const generation = this.generations.get(keyOf(requestId, epoch));
    if (!generation || generation.held === held) return;
    generation.held = held;
    if (generation.phase === 'running') this.running?.child.tell({ type: 'hold', id: generation.id, held });
  }

  status(): EngineStatus {
    const { config } = this.options;
    const sequences = [...this.generations.values()].map((generation) => statusOf(generation));
    const runningCount = sequences.filter(({ blocks }) => blocks > 0).length;
    const usedBlocks = sequences.reduce((sum, { blocks }) => sum + blocks, 0);
    const demand = (generation: Generation) => Math.ceil((generation.promptIds.length + generation.outputIds.length) / blockTokens);
    const facts = this.running?.loaded.facts;
    return {
      totalBlocks: this.totalBlocks,
      freeBlocks: Math.max(0, this.totalBlocks - usedBlocks - this.kv.reservedBlocks),
      blockTokens,
      running: runningCount,
      waiting: sequences.length - runningCount,
      waitingBlocks: this.#waiting.reduce((sum, generation) => sum + demand(generation), 0),
      headBlocks: this.#waiting[0] ? demand(this.#waiting[0]) : 0,
      reservedBlocks: this.kv.reservedBlocks,
      maxRunning: config.maxRunning,
      maxWaiting: config.maxWaiting,
      ...this.#account.status,
      sequences,
      preemptions: 0,
      cachedBlocks: config.prefixCache ? this.slots.cachedBlocks(blockTokens) : 0,
      profile: '',
      kvBytesPerToken: facts?.kvBytesPerToken ?? 0,
      maxContextTokens: config.contextTokens,
      software: facts ? `llama.cpp ${facts.release} (node-llama-cpp ${facts.packageVersion})` : '',
      kvFormat: this.kv.format,
    };
  }

  get totalBlocks(): number {
    return this.options.config.maxRunning * this.blocksOfSequence;
  }

  get blocksOfSequence(): number {
    return Math.ceil(this.options.config.contextTokens / blockTokens);
  }

  async probe(): Promise<Refusal | undefined> {
    if (this.#closed) return refusal('draining', 'this instance is stopping', 100);
    const { child } = this.running ?? {};
    if (!child) return this.#host.away();
    const given = new AbortController();
    try {
      const late = sleep(this.options.clock, probeWithinMs, given.signal).then(() => undefined);
      const answer = await Promise.race([child.ask({ type: 'probe' }), late]);
      if (!answer) return refusal('engine_unavailable', 'the engine gave no token in time');
      return answer.type === 'no' ? refusal('engine_error', answer.message) : undefined;
    } catch (thrown) {
      return toRefusal(thrown);
    } finally {
      given.abort();
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const generation of [...this.generations.values()]) this.end(generation, 'cancelled');
    this.kv.close();
    await this.#host.stop();
    this.folder.remove();
  }

  newId(): number {
    return ++this.#lastId;
  }

  /** Starts computing a sequence in its slot. */
  launch(generation: Generation, reuse: boolean): void {
    generation.phase = 'running';
    const { id, slot, promptIds, maxOutputTokens, held, request } = generation;
    const maxTokens = promptIds.length + maxOutputTokens;
    const tokens = historyOf(generation);
    this.running!.child.tell({
      type: 'start',
      id,
      slot: slot!,
      tokens,
      promptTokens: promptIds.length,
      maxTokens,
      reuse,
      held,
      sampling: request.sampling,
      goesOnFrom: generation.goesOnFrom,
    });
    generation.goesOnFrom = undefined;
    this.tell(generation, 'admitted');
  }

  /** Frees a sequence; no event is told for it any more. */
  end(generation: Generation, why: 'sequence_finished' | 'cancelled'): void {
    this.generations.delete(generation.key);
    this.#byId.delete(generation.id);
    generation.cancelLease();
    const queued = this.#waiting.indexOf(generation);
    if (queued >= 0) this.#waiting.splice(queued, 1);
    if (generation.slot !== undefined) {
      for (const id of [generation.goesOnFrom, generation.id]) if (id !== undefined) this.running?.child.tell({ type: 'stop', id });
      this.slots.release(generation.slot, this.options.config.prefixCache ? historyOf(generation) : []);
    }
    this.#ended.delete(generation.key);
    this.#ended.set(generation.key, why);
    if (this.#ended.size > maxEnded) this.#ended.delete(this.#ended.keys().next().value!);
  }

  whyEnded(key: string): 'sequence_finished' | 'cancelled' | undefined {
    return this.#ended.get(key);
  }

  tell(generation: Generation, type: LifecycleEvent['type']): void {
    this.options.hooks.onLifecycle({ requestId: generation.facts.requestId, epoch: generation.epoch, type });
  }

  /** Something that a report shows has changed; there may be room for what waits. */
  changed(): void {
    this.options.hooks.onChange();
    this.#admit();
  }

  /** While it is running. */
  read(requestId: string, endpoint: string, body: Uint8Array): LlamaRequest | Refusal {
    return readRequest(requestId, endpoint, body, { ...this.running!.loaded.facts, usual: this.options.config.sampling });
  }

  #start(request: GenerateRequest, held: boolean): Generation | Refusal {
    const { config, model } = this.options;
    const { facts, vocabulary } = this.running!.loaded;
    const read = this.read(request.requestId, request.endpoint, request.body);
    if ('code' in read) return read;
    const { resumeTokenIds } = request;
    if (resumeTokenIds.some((id) => id >= facts.vocabularySize)) return refusal('invalid_request', 'these tokens are not of this model');
    // What is continued was let in before.
    if (resumeTokenIds.length === 0 && this.generations.size >= config.maxRunning + config.maxWaiting) {
      return refusal('queue_full', `${config.maxWaiting} requests wait already`, 200);
    }
    return generationOf({
      ...{ id: this.newId(), epoch: request.epoch, facts: factsOf(model, request), request: read, fingerprint: this.fingerprint, vocabulary, held },
      ...{ outputIds: resumeTokenIds, shown: request.resumeText.length, fromIndex: resumeTokenIds.length },
    });
  }

  async #prepare(generation: Generation): Promise<void> {
    const { prompt, sampling } = generation.request;
    try {
      const answer =
        prompt.kind === 'tokens'
          ? ({ type: 'prompt', tokens: prompt.tokens } as const)
          : await this.running!.child.ask({ type: 'prompt', source: prompt, grammar: sampling.grammar });
      if (this.generations.get(generation.key) !== generation) return;
      if (answer.type !== 'prompt')
        this.fail(generation, answer.type === 'no' ? refusal(answer.code, answer.message) : refusal('internal', 'no prompt'));
      else this.#measured(generation, answer.tokens);
    } catch (thrown) {
      this.fail(generation, toRefusal(thrown));
    }
  }

  #measured(generation: Generation, promptIds: readonly number[]): void {
    const { request, facts } = generation;
    const most = outputLimit(promptIds.length, this.options.config.contextTokens, [request.maxTokens, facts.maxOutputTokens || undefined]);
    if (typeof most !== 'number') {
      this.fail(generation, most);
      return;
    }
    generation.promptIds = promptIds;
    generation.maxOutputTokens = most;
    generation.phase = 'waiting';
    this.#enter(generation);
    this.changed();
  }

  /** A sequence whose tokens are known: it says what the gateway has not got, and waits for a slot unless it has one, or has ended. */
  #enter(generation: Generation): void {
    const { outputIds, maxOutputTokens, fromIndex, slot, foreseen } = generation;
    if (outputIds.length >= maxOutputTokens) {
      // A continuation of an answer that was complete but for its end.
      const end = speakAgain(generation, fromIndex, 'length');
      this.end(generation, 'sequence_finished');
      this.options.hooks.onEvents([end]);
      return;
    }
    if (outputIds.length > fromIndex) this.options.hooks.onEvents([speakAgain(generation, fromIndex, '')]);
    if (foreseen !== undefined && this.#sayForeseen(generation, foreseen)) return;
    if (slot === undefined) this.#waiting.push(generation);
    else this.launch(generation, true);
  }

  /** Gives whether the answer ends with it. */
  #sayForeseen(generation: Generation, token: number): boolean {
    const event = this.#say(generation, token, this.options.clock.now());
    this.options.hooks.onEvents([event]);
    return event.finishReason !== '';
  }

  #say(generation: Generation, token: number, nowMs: number): EngineEvent {
    this.#account.tokensOut++;
    generation.lastTokenAtMs = nowMs;
    const event = speak(generation, token);
    generation.tail?.(event.index, event.tokenIds);
    if (event.finishReason !== '') this.end(generation, 'sequence_finished');
    return event;
  }

  /** Gives slots to what waits: the highest priority first, then who came first. */
  #admit(): void {
    while (this.#waiting.length > 0 && this.running) {
      const next = this.#waiting.reduce((best, one) => (one.facts.priority > best.facts.priority ? one : best));
      const slot = this.slots.take(next.key, this.options.config.prefixCache ? historyOf(next) : []);
      if (slot === undefined) return;
      this.#waiting.splice(this.#waiting.indexOf(next), 1);
      next.slot = slot;
      this.launch(next, this.options.config.prefixCache);
      this.options.hooks.onChange();
    }
  }

  #keep(generation: Generation): void {
    this.generations.set(generation.key, generation);
    this.#byId.set(generation.id, generation);
  }

  /** Ends a sequence with an error. */
  fail(generation: Generation, error: Refusal): void {
    if (this.generations.get(generation.key) !== generation) return;
    this.end(generation, 'cancelled');
    this.options.hooks.onEvents([errorEvent(generation, error)]);
    this.changed();
  }

  #onStep(report: StepReport): void {
    this.#account.add(report);
    const nowMs = this.options.clock.now();
    const events: EngineEvent[] = [];
    let ended = false;
    for (const { id, kept } of report.begun) {
      const generation = this.#byId.get(id);
      if (generation && generation.outputIds.length === 0) generation.cachedTokens = kept;
    }
    for (const [position, id] of report.ids.entries()) {
      const generation = this.#byId.get(id);
      if (!generation) continue;
      const event = this.#say(generation, report.tokens[position]!, nowMs);
      events.push(event);
      ended ||= event.finishReason !== '';
    }
    for (const { id, after, token } of report.foreseen) this.kv.following.foresaw(id, after, token);
    for (const id of report.stopped) {
      const generation = this.#byId.get(id);
      if (!generation) continue;
      events.push(speakEnd(generation));
      ended = true;
      this.end(generation, 'sequence_finished');
    }
    for (const { id, message } of report.failed) {
      const generation = this.#byId.get(id);
      if (!generation) {
        this.kv.following.failed(id, message);
        continue;
      }
      events.push(errorEvent(generation, refusal('engine_error', `the engine could not compute this request: ${message}`)));
      ended = true;
      this.end(generation, 'cancelled');
    }
    if (events.length > 0) this.options.hooks.onEvents(events);
    if (ended) this.changed();
  }

  #onLoaded({ facts }: Loaded, sample: Uint8Array): Refusal | undefined {
    const { contextTokens } = this.options.config;
    if (facts.trainedTokens < contextTokens) {
      return refusal('invalid_config', `it knows contexts of ${facts.trainedTokens} tokens: set llama.contextTokens to that or less`);
    }
    this.kv.learn(facts, sample);
    if (this.kv.format !== '') this.supports.add('kv_state');
    this.#account.begin(facts.warmUp);
    return undefined;
  }

  /** The process has ended by itself: so has everything that was in it. */
  #onLost(error: Refusal): void {
    const ending = [...this.generations.values()];
    for (const generation of ending) this.end(generation, 'cancelled');
    this.slots.clear();
    this.kv.lose();
    if (ending.length > 0) this.options.hooks.onEvents(ending.map((generation) => errorEvent(generation, error)));
    this.options.hooks.onChange();
  }
}
