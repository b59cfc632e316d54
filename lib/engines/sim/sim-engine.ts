// The simulated engine behind the adapter interface: core/engine decides what a step computes, the clock says when it is
// done. Moving sequences in and out: sim-kv.ts.

import { ChurnMap } from '../../../core/collections/churn-map.ts';
import { BlockPool } from '../../../core/engine/block-pool.ts';
import { coefficientsOf, isProfile, reportedStepModel } from '../../../core/engine/profiles.ts';
import { Reservations } from '../../../core/engine/reservations.ts';
import { Scheduler, type StepPlan } from '../../../core/engine/scheduler.ts';
import { outputLength } from '../../../core/engine/sequence.ts';
import { textOf, tokenTexts } from '../../../core/engine/vocabulary.ts';
import { refusal, SwitchyardError } from '../../../core/errors/switchyard-error.ts';
import type { Refusal, SequenceStatus, StepModel } from '../../../proto/gen/messages.ts';
import type { SimEngineConfig } from '../../config/fleet.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Capability, EngineAdapter, EngineEvent, EngineHooks, EngineStatus, GenerateRequest, LifecycleEvent } from '../../ports/engines.ts';
import { keyOf } from '../find-sequence.ts';
import { type Generation, generationOf, readBody, speak, speakAgain, specOf } from './generation.ts';
import { SimKv } from './sim-kv.ts';

export interface SimEngineOptions {
  /** The name that answers carry, and that tokens depend on. */
  readonly model: string;
  readonly config: SimEngineConfig;
  readonly clock: Clock;
  readonly hooks: EngineHooks;
}

/** Reservations held at once; further ones are refused. */
const maxReservations = 32;
/** Ended sequences remembered, to say why a late command finds nothing. */
const maxEnded = 1024;

export class SimEngine implements EngineAdapter {
  readonly engine = 'sim';
  readonly supports: ReadonlySet<Capability>;
  readonly kv: SimKv;
  readonly pool: BlockPool;
  readonly scheduler: Scheduler;
  readonly reservations: Reservations;
  readonly generations = new ChurnMap<string, Generation>();
  readonly options: SimEngineOptions;
  readonly #ended = new Map<string, 'sequence_finished' | 'cancelled'>();
  readonly #stepModel: StepModel;
  #stepping = false;
  #closed = false;
  #pretended: Refusal | undefined;
  #cancelStep = () => {};
  #stepDueMs = 0;
  #stepMs = 0;
  #tokensOut = 0;
  #tokensIn = 0;
  #steps = 0;

  /** @throws SwitchyardError `invalid_config` for an unknown profile or impossible sizes */
  constructor(options: SimEngineOptions) {
    const { config } = options;
    if (!isProfile(config.profile)) {
      throw new SwitchyardError('invalid_config', `unknown engine profile ${config.profile}: core/engine/profiles.ts lists them`);
    }
    this.options = options;
    const coefficients = coefficientsOf(config.profile, config.speed);
    this.#stepModel = reportedStepModel(coefficients);
    try {
      this.pool = new BlockPool(config);
    } catch (thrown) {
      throw new SwitchyardError('invalid_config', `engine ${config.profile}: ${(thrown as Error).message}`, { cause: thrown });
    }
    this.scheduler = new Scheduler({ ...config, model: options.model, coefficients }, this.pool);
    this.reservations = new Reservations(this.pool, maxReservations);
    this.kv = new SimKv(this);
    this.supports = new Set<Capability>(['kv_export', 'recompute', 'continue:*', ...(config.prefixCache ? (['prefix_cache'] as const) : [])]);
  }

  get size(): number {
    return this.generations.size;
  }

  open(request: GenerateRequest, held: boolean): Refusal | undefined {
    if (this.#closed) return refusal('draining', 'this instance is stopping', 100);
    const key = keyOf(request.requestId, request.epoch);
    if (this.generations.has(key)) return undefined;
    if (this.#pretended) return this.#pretended;
    const opened = request.reservationId ? this.kv.takeOver(request) : this.#start(request);
    if ('code' in opened) return opened;
    opened.sequence.held = held;
    this.generations.set(key, opened);
    const have = outputLength(opened.sequence);
    if (have >= opened.sequence.maxOutputTokens) {
      // A continuation of an answer that was complete but for its end.
      const end = speakAgain(opened, opened.fromIndex, opened.sequence.endReason);
      this.end(opened, 'sequence_finished');
      this.options.hooks.onEvents([end]);
    } else if (have > opened.fromIndex) this.options.hooks.onEvents([speakAgain(opened, opened.fromIndex, '')]);
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
    if (!generation || generation.sequence.held === held) return;
    generation.sequence.held = held;
    this.kick();
  }

  status(): EngineStatus {
    const { config } = this.options;
    const { waiting, running } = this.scheduler;
    let waitingBlocks = 0;
    for (const sequence of waiting) waitingBlocks += this.scheduler.demand(sequence);
    return {
      totalBlocks: this.pool.total,
      freeBlocks: this.pool.free,
      blockTokens: this.pool.blockTokens,
      running: running.length,
      waiting: waiting.length,
      waitingBlocks,
      headBlocks: waiting[0] ? this.scheduler.demand(waiting[0]) : 0,
      reservedBlocks: this.reservations.blocks,
      maxRunning: config.maxRunning,
      maxWaiting: config.maxWaiting,
      stepMs: this.#stepMs,
      stepModel: this.#stepModel,
      sequences: [...this.generations.values()].map(statusOf),
      preemptions: this.scheduler.preemptions,
      tokensOut: this.#tokensOut,
      cachedBlocks: this.pool.cached,
      profile: config.profile,
      kvBytesPerToken: config.kvBytesPerToken,
      maxContextTokens: config.maxContextTokens,
      software: '',
      kvFormat: '',
      steps: this.#steps,
      tokensIn: this.#tokensIn,
    };
  }

  /** The model computes a token whenever it takes a request. */
  probe(): Promise<Refusal | undefined> {
    return Promise.resolve(this.#closed ? refusal('draining', 'this instance is stopping', 100) : this.#pretended);
  }

  pretend(answer: Refusal | undefined): void {
    this.#pretended = answer;
  }

  close(): void {
    this.#closed = true;
    this.#cancelStep();
    for (const { sequence } of this.generations.values()) sequence.inStep = false;
    for (const generation of [...this.generations.values()]) this.end(generation, 'cancelled');
    this.kv.close();
    // Sequences that were cancelled within the step that will not end now.
    for (const sequence of [...this.scheduler.running]) {
      sequence.inStep = false;
      this.scheduler.remove(sequence);
    }
    this.audit();
  }

  /** Walks over all blocks. @throws Error when one is leaked, or owned twice */
  audit(): void {
    const { running, waiting } = this.scheduler;
    this.pool.audit([...[...running, ...waiting].map((sequence) => sequence.blocks), ...[...this.reservations.all()].map(({ blocks }) => blocks)]);
  }

  /** Frees a sequence; no event is told for it any more. */
  end(generation: Generation, why: 'sequence_finished' | 'cancelled'): void {
    this.generations.delete(generation.key);
    generation.cancelLease();
    this.scheduler.remove(generation.sequence);
    this.#ended.delete(generation.key);
    this.#ended.set(generation.key, why);
    if (this.#ended.size > maxEnded) this.#ended.delete(this.#ended.keys().next().value!);
    runAll(generation.atBoundary);
  }

  whyEnded(key: string): 'sequence_finished' | 'cancelled' | undefined {
    return this.#ended.get(key);
  }

  tell(generation: Generation, type: LifecycleEvent['type']): void {
    this.options.hooks.onLifecycle({ requestId: generation.facts.requestId, epoch: generation.epoch, type });
  }

  /** Something that a report shows has changed; there may be work to do. */
  changed(): void {
    this.options.hooks.onChange();
    this.kick();
  }

  /** Begins a step unless one is running or there is nothing to compute. */
  kick(): void {
    if (this.#stepping || this.#closed) return;
    const plan = this.scheduler.plan();
    if (!plan) return;
    this.#stepping = true;
    this.#tellAll(plan.preempted, 'preempted');
    this.#tellAll(plan.admitted, 'admitted');
    if (plan.preempted.length > 0 || plan.admitted.length > 0) this.options.hooks.onChange();
    // A late timer does not slow the engine down: the next step counts from when the last one was due, if that is recent.
    const now = this.options.clock.now();
    const beganMs = now - this.#stepDueMs < plan.durationMs ? this.#stepDueMs : now;
    this.#stepDueMs = beganMs + plan.durationMs;
    this.#stepMs = this.#stepMs === 0 ? plan.durationMs : this.#stepMs * 0.8 + plan.durationMs * 0.2;
    this.#cancelStep = this.options.clock.after(Math.max(0, this.#stepDueMs - now), () => this.#finishStep(plan));
  }

  #start(request: GenerateRequest): Generation | Refusal {
    const prompt = readBody(request.endpoint, request.body);
    if ('code' in prompt) return prompt;
    // What was said so far is said in this engine's own words, or it is not its to continue.
    if (request.resumeTokenIds.some((id) => id >= tokenTexts.length)) return refusal('invalid_request', 'these tokens are not of this model');
    const { spec, facts } = specOf(this.options.model, request, prompt, this.options.config.maxContextTokens);
    const sequence = this.scheduler.submit(spec);
    if ('code' in sequence) return sequence;
    const text = textOf(spec.outputIds);
    const told = { text, shown: Math.min(request.resumeText.length, text.length), fromIndex: spec.outputIds.length };
    return generationOf(sequence, request.epoch, facts, prompt.stop, told);
  }

  #finishStep(plan: StepPlan): void {
    this.#stepping = false;
    const events: EngineEvent[] = [];
    const now = this.options.clock.now();
    let ended = false;
    for (const { sequence, tokenId, index, finishReason } of this.scheduler.complete(plan)) {
      this.#tokensOut++;
      const generation = this.generations.get(sequence.key);
      if (!generation) continue;
      generation.lastTokenAtMs = now;
      const event = speak(generation, tokenId, index, finishReason);
      if (event.finishReason !== '') {
        ended = true;
        this.end(generation, 'sequence_finished');
      }
      if (index >= generation.fromIndex) events.push(event);
    }
    this.#steps++;
    for (const { sequence, tokens } of plan.items) {
      if (tokens > 1) this.#tokensIn += tokens;
      const generation = this.generations.get(sequence.key);
      if (generation) runAll(generation.atBoundary);
    }
    if (events.length > 0) this.options.hooks.onEvents(events);
    if (ended) this.options.hooks.onChange();
    this.kick();
  }

  #tellAll(sequences: readonly { key: string }[], type: 'admitted' | 'preempted'): void {
    for (const { key } of sequences) {
      const generation = this.generations.get(key);
      if (generation) this.tell(generation, type);
    }
  }
}

function runAll(callbacks: (() => void)[]): void {
  for (const run of callbacks.splice(0)) run();
}

function statusOf({ facts, sequence, epoch }: Generation): SequenceStatus {
  const prefilling = sequence.tokens.length - sequence.computed > 1;
  return {
    requestId: facts.requestId,
    state: sequence.paused ? 'paused' : sequence.phase === 'waiting' ? 'waiting' : prefilling ? 'prefill' : 'decode',
    promptTokens: sequence.promptLength,
    outputTokens: outputLength(sequence),
    maxOutputTokens: sequence.maxOutputTokens,
    blocks: sequence.blocks.length,
    priority: sequence.priority,
    epoch,
    gatewayId: facts.gatewayId,
    arrivalMs: facts.arrivalMs,
    traceparent: facts.traceparent,
  };
}
