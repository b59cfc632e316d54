// How full a server is: what we have given it, as we count it, and what others have, as far as its metrics tell.
import type { SequenceStatus, StepModel } from '../../../proto/gen/messages.ts';
import type { EngineStatus } from '../../ports/engines.ts';
import type { ServerFacts } from './facts.ts';
import type { Generation } from './generation.ts';
import type { Loaded } from './watch.ts';

/** Where a server does not say how large its blocks are. */
const usualBlockTokens = 16;
const recent = 0.2;

export interface Limits {
  readonly maxRunning: number;
  readonly maxWaiting: number;
  readonly contextTokens: number;
}

export class Occupancy {
  readonly #limits: Limits;
  #load: Loaded | undefined;
  /** Most of ours that ran since the metrics before: what is beyond it is of others. */
  #peakStarted = 0;
  #peakBlocks = 0;
  #others = { running: 0, blocks: 0 };
  #preemptions = 0;
  #steps = 0;
  #stepMs = 0;
  #prefillMsPerToken = 0;
  #tokensOut = 0;
  #tokensIn = 0;

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  blocks(tokens: number, facts: ServerFacts | undefined): number {
    return Math.ceil(tokens / (facts?.blockTokens ?? usualBlockTokens));
  }

  /** One batch of events with tokens has been told. */
  stepped(): void {
    this.#steps++;
  }

  prefilled(promptTokens: number, tookMs: number): void {
    this.#tokensIn += promptTokens;
    this.#prefillMsPerToken = moved(this.#prefillMsPerToken, tookMs / Math.max(1, promptTokens));
  }

  /** `sinceMs`: since the last tokens of the same request; undefined: these are its first. */
  produced(tokens: number, sinceMs: number | undefined): void {
    this.#tokensOut += tokens;
    if (sinceMs !== undefined) this.#stepMs = moved(this.#stepMs, sinceMs / tokens);
  }

  /** Before the status of a moment is asked for, whenever something begins or ends. */
  count(generations: Iterable<Generation>, facts: ServerFacts | undefined): void {
    const { started, blocks } = this.#ours(generations, facts);
    this.#peakStarted = Math.max(this.#peakStarted, started);
    this.#peakBlocks = Math.max(this.#peakBlocks, blocks);
  }

  measured(load: Loaded | undefined, generations: Iterable<Generation>, facts: ServerFacts | undefined): void {
    if (load?.atMs === this.#load?.atMs) return;
    const grown = (load?.preemptions ?? 0) - (this.#load?.preemptions ?? load?.preemptions ?? 0);
    this.#preemptions += grown >= 0 ? grown : (load?.preemptions ?? 0);
    const total = load?.totalBlocks ?? this.#total(facts);
    const { started, blocks } = this.#ours(generations, facts);
    this.#others = {
      running: Math.max(0, (load?.running ?? 0) + (load?.waiting ?? 0) - Math.max(started, this.#peakStarted)),
      blocks: Math.max(0, Math.round((load?.kvUsage ?? 0) * total) - Math.max(blocks, this.#peakBlocks)),
    };
    this.#peakStarted = started;
    this.#peakBlocks = blocks;
    this.#load = load;
  }

  status(generations: Iterable<Generation>, facts: ServerFacts | undefined): Omit<EngineStatus, 'software' | 'kvFormat' | 'profile'> {
    const all = [...generations];
    const { started, blocks } = this.#ours(all, facts);
    const waiting = all.filter(({ phase }) => phase === 'waiting');
    const wanted = waiting.map((one) => this.blocks(one.promptTokens + one.outputTokens, facts));
    const totalBlocks = this.#load?.totalBlocks ?? this.#total(facts);
    const there = started + this.#others.running;
    const queuedThere = Math.min(this.#load?.waiting ?? 0, there);
    return {
      totalBlocks,
      freeBlocks: Math.max(0, totalBlocks - blocks - this.#others.blocks),
      blockTokens: facts?.blockTokens ?? usualBlockTokens,
      running: there - queuedThere,
      waiting: waiting.length + queuedThere,
      waitingBlocks: wanted.reduce((sum, one) => sum + one, 0),
      headBlocks: wanted[0] ?? 0,
      reservedBlocks: 0,
      maxRunning: this.maxRunning(facts),
      maxWaiting: this.#limits.maxWaiting,
      stepMs: this.#stepMs,
      stepModel: this.#stepModel(),
      sequences: all.map((one) => sequenceOf(one, this.blocks(one.promptTokens + one.outputTokens, facts))),
      preemptions: this.#preemptions,
      tokensOut: this.#tokensOut,
      tokensIn: this.#tokensIn,
      steps: this.#steps,
      cachedBlocks: 0,
      kvBytesPerToken: 0,
      maxContextTokens: this.contextTokens(facts),
    };
  }

  maxRunning(facts: ServerFacts | undefined): number {
    return Math.min(facts?.maxRunning ?? this.#limits.maxRunning, 100_000);
  }

  contextTokens(facts: ServerFacts | undefined): number {
    return facts?.contextTokens ?? this.#limits.contextTokens;
  }

  #total(facts: ServerFacts | undefined): number {
    return facts?.totalBlocks ?? this.maxRunning(facts) * this.blocks(this.contextTokens(facts), facts);
  }

  #ours(generations: Iterable<Generation>, facts: ServerFacts | undefined): { started: number; blocks: number } {
    let started = 0;
    let blocks = 0;
    for (const one of generations) {
      if (one.phase === 'waiting') continue;
      started++;
      blocks += this.blocks(one.promptTokens + one.outputTokens, facts);
    }
    return { started, blocks };
  }

  /** As it has been lately; before anything was measured, as if it were free. */
  #stepModel(): StepModel {
    return { prefillBaseMs: 0, prefillPerTokenMs: this.#prefillMsPerToken, decodeBaseMs: this.#stepMs, decodePerSequenceMs: 0 };
  }
}

function moved(average: number, value: number): number {
  return average === 0 ? value : average * (1 - recent) + value * recent;
}

function sequenceOf(one: Generation, blocks: number): SequenceStatus {
  const { request, phase } = one;
  return {
    requestId: request.requestId,
    state: one.paused ? 'paused' : phase === 'waiting' ? 'waiting' : phase === 'prefill' ? 'prefill' : one.held ? 'paused' : 'decode',
    promptTokens: one.promptTokens,
    outputTokens: one.outputTokens,
    maxOutputTokens: request.maxOutputTokens,
    blocks: phase === 'waiting' ? 0 : blocks,
    priority: request.priority,
    epoch: request.epoch,
    gatewayId: request.gatewayId,
    arrivalMs: request.arrivalMs,
    traceparent: request.traceparent,
  };
}
