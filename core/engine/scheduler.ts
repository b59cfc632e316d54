// Continuous batching with chunked prefill over a block pool. One step: every running sequence computes its next token,
// prefills share a token budget, waiting sequences join while there is room. When blocks run out the lowest-ranked
// sequence gives its blocks up and is computed again later.
//
// Why it cannot deadlock: a sequence that could never fit alone is refused at the door; the highest-ranked running
// sequence may take blocks from every other one; whoever finds nobody below itself keeps its blocks and sits the step
// out. Blocks held by reservations and paused sequences come back by their leases.

import type { Refusal } from '../../proto/gen/messages.ts';
import { refusal } from '../errors/switchyard-error.ts';
import type { BlockPool } from './block-pool.ts';
import { insertByRank, outputLength, prefixKeysOf, removeFrom, type Sequence, type SequenceSpec, sequenceOf } from './sequence.ts';
import { type PrefillChunk, type StepCoefficients, stepMs } from './step-model.ts';
import { advance, attendedPosition, nextToken, readSlot, startState, stateKey, writeSlot } from './token-function.ts';

export interface SchedulerOptions {
  readonly model: string;
  readonly maxRunning: number;
  /** Sequences that may wait; further ones are refused. Preempted ones and continuations are let in up to twice as many. */
  readonly maxWaiting: number;
  /** Prefill tokens per step, over all sequences. */
  readonly prefillChunk: number;
  readonly maxContextTokens: number;
  readonly prefixCache: boolean;
  readonly coefficients: StepCoefficients;
}

export interface StepItem {
  readonly sequence: Sequence;
  readonly tokens: number;
}

export interface StepPlan {
  readonly items: readonly StepItem[];
  readonly durationMs: number;
  /** Sequences that began to run, or gave up their blocks, while this was planned. */
  readonly admitted: readonly Sequence[];
  readonly preempted: readonly Sequence[];
}

export interface OutputToken {
  readonly sequence: Sequence;
  readonly tokenId: number;
  /** Among the output tokens, from 0. */
  readonly index: number;
  /** Empty while it goes on. */
  readonly finishReason: '' | 'stop' | 'length';
}

export class Scheduler {
  /** Both sorted by rank. */
  readonly waiting: Sequence[] = [];
  readonly running: Sequence[] = [];
  preemptions = 0;
  readonly #options: SchedulerOptions;
  readonly #pool: BlockPool;
  readonly #last = { lo: 0, hi: 0 };
  readonly #attended = { lo: 0, hi: 0 };

  constructor(options: SchedulerOptions, pool: BlockPool) {
    this.#options = options;
    this.#pool = pool;
  }

  /** Refused: `context_length_exceeded` or `kv_too_large` (can never fit), `queue_full`. */
  submit(spec: SequenceSpec): Sequence | Refusal {
    const { maxContextTokens, maxRunning, maxWaiting } = this.#options;
    const total = spec.promptIds.length + spec.maxOutputTokens;
    if (spec.maxOutputTokens < 1 || total > maxContextTokens) {
      return refusal('context_length_exceeded', `prompt (${spec.promptIds.length} tokens) and output must fit into ${maxContextTokens} tokens`);
    }
    if (this.#pool.blocksFor(total) > this.#pool.total) {
      return refusal('kv_too_large', `${total} tokens need more than the ${this.#pool.total} blocks of this instance`);
    }
    const limit = maxWaiting + Math.max(0, maxRunning - this.running.length);
    if (this.waiting.length >= (spec.continues ? 2 * limit + maxRunning : limit))
      return refusal('queue_full', 'the queue of this instance is full', 500);
    const sequence = sequenceOf(spec);
    insertByRank(this.waiting, sequence);
    return sequence;
  }

  /** Puts a migrated sequence with its blocks to work. It passes the queue: its blocks are here already. */
  adopt(spec: SequenceSpec, blocks: number[], computed: number, cachedTokens: number): Sequence {
    const sequence = sequenceOf(spec);
    sequence.cachedTokens = cachedTokens;
    sequence.everAdmitted = true;
    if (computed === 0) {
      this.#pool.dropAll(blocks);
      insertByRank(this.waiting, sequence);
      return sequence;
    }
    sequence.blocks = blocks;
    sequence.computed = computed;
    sequence.phase = 'running';
    if (this.#options.prefixCache) {
      this.#keysFor(sequence);
      this.#publishFull(sequence, 0);
    }
    insertByRank(this.running, sequence);
    return sequence;
  }

  /** Ends a sequence. Its blocks are free at once, or at the end of the running step when it is part of it. */
  remove(sequence: Sequence): void {
    if (sequence.phase === 'ended') return;
    if (sequence.inStep) {
      sequence.dropped = true;
      return;
    }
    removeFrom(sequence.phase === 'waiting' ? this.waiting : this.running, sequence);
    this.#pool.dropAll(sequence.blocks);
    sequence.blocks = [];
    sequence.phase = 'ended';
  }

  /** Decides the next step and takes its blocks. Undefined: nothing can be computed now. */
  plan(): StepPlan | undefined {
    const items: StepItem[] = [];
    const chunks: PrefillChunk[] = [];
    const admitted: Sequence[] = [];
    const preempted: Sequence[] = [];
    let decoding = 0;
    let budget = this.#options.prefillChunk;
    let satOut = false;
    const include = (sequence: Sequence, tokens: number, decode: boolean) => {
      if (decode) decoding++;
      else {
        budget -= tokens;
        chunks.push({ before: sequence.computed, tokens });
      }
      sequence.inStep = true;
      items.push({ sequence, tokens });
    };

    // Preemption removes only sequences behind `i`, so the index stays right.
    for (let i = 0; i < this.running.length; i++) {
      const sequence = this.running[i]!;
      if (sequence.paused || sequence.held) continue;
      const pending = sequence.tokens.length - sequence.computed;
      const tokens = pending === 1 ? 1 : Math.min(pending, budget);
      if (tokens === 0) continue;
      if (!this.#grow(sequence, i, preempted)) {
        satOut = true;
        continue;
      }
      include(sequence, tokens, pending === 1);
    }
    if (!satOut) {
      for (let at = 0; at < this.waiting.length && this.running.length < this.#options.maxRunning && budget > 0; ) {
        const sequence = this.waiting[at]!;
        if (sequence.paused || sequence.held) {
          at++;
          continue;
        }
        if (!this.#admit(sequence, at)) break;
        admitted.push(sequence);
        include(sequence, Math.min(sequence.tokens.length - sequence.computed, budget), false);
      }
    }
    return items.length === 0 ? undefined : { items, durationMs: stepMs(this.#options.coefficients, decoding, chunks), admitted, preempted };
  }

  /** Computes a planned step: writes the KV, gives the tokens. Sequences removed meanwhile give none. */
  complete(plan: StepPlan): OutputToken[] {
    const outputs: OutputToken[] = [];
    for (const { sequence, tokens } of plan.items) {
      sequence.inStep = false;
      if (sequence.dropped) {
        this.remove(sequence);
        continue;
      }
      this.#compute(sequence, tokens);
      if (sequence.computed < sequence.tokens.length) continue;
      const tokenId = this.#sample(sequence);
      sequence.tokens.push(tokenId);
      const index = outputLength(sequence) - 1;
      const finishReason = index + 1 >= sequence.maxOutputTokens ? sequence.endReason : '';
      if (finishReason) this.remove(sequence);
      outputs.push({ sequence, tokenId, index, finishReason });
    }
    return outputs;
  }

  /** Blocks that a waiting sequence needs to start. */
  demand(sequence: Sequence): number {
    return this.#pool.blocksFor(sequence.tokens.length + 1);
  }

  /** Prefix keys of all full blocks of the tokens so far. */
  #keysFor(sequence: Sequence): readonly number[] {
    const full = Math.floor(sequence.tokens.length / this.#pool.blockTokens);
    if (sequence.prefixKeys.length < full) {
      sequence.prefixKeys.splice(0, sequence.prefixKeys.length, ...prefixKeysOf(this.#options.model, sequence.tokens, this.#pool.blockTokens));
    }
    return sequence.prefixKeys;
  }

  /** Moves a waiting sequence to running with blocks for all its tokens. False: no room; nothing changed. */
  #admit(sequence: Sequence, at: number): boolean {
    const pool = this.#pool;
    const blocks: number[] = [];
    if (this.#options.prefixCache) {
      // The last token is always computed: its step gives the next one.
      const reusable = Math.floor((sequence.tokens.length - 1) / pool.blockTokens);
      const keys = this.#keysFor(sequence);
      for (let i = 0; i < reusable; i++) {
        const block = pool.find(keys[i]!);
        if (block === undefined) break;
        pool.hold(block);
        blocks.push(block);
      }
    }
    const hits = blocks.length;
    const needed = pool.blocksFor(sequence.tokens.length) - hits;
    // One block more than needed must be free, lest the first decode step preempts somebody; alone, it may have the last one.
    if (pool.free < needed + (this.running.length > 0 ? 1 : 0)) {
      pool.dropAll(blocks);
      return false;
    }
    for (let i = 0; i < needed; i++) blocks.push(pool.take()!);
    this.waiting.splice(at, 1);
    sequence.blocks = blocks;
    sequence.computed = hits * pool.blockTokens;
    if (!sequence.everAdmitted) sequence.cachedTokens = Math.min(sequence.computed, sequence.promptLength);
    sequence.everAdmitted = true;
    sequence.phase = 'running';
    insertByRank(this.running, sequence);
    return true;
  }

  /** Makes room for the next token of running[i]. False: nobody below it can give way. */
  #grow(sequence: Sequence, i: number, preempted: Sequence[]): boolean {
    while (sequence.blocks.length < this.#pool.blocksFor(sequence.tokens.length)) {
      const block = this.#pool.take();
      if (block !== undefined) sequence.blocks.push(block);
      else if (!this.#preemptBelow(i, preempted)) return false;
    }
    return true;
  }

  #preemptBelow(i: number, preempted: Sequence[]): boolean {
    for (let at = this.running.length - 1; at > i; at--) {
      const victim = this.running[at]!;
      if (victim.paused || victim.inStep) continue;
      this.running.splice(at, 1);
      this.#pool.dropAll(victim.blocks);
      victim.blocks = [];
      victim.computed = 0;
      victim.phase = 'waiting';
      victim.preemptions++;
      this.preemptions++;
      preempted.push(victim);
      insertByRank(this.waiting, victim);
      return true;
    }
    return false;
  }

  #compute(sequence: Sequence, tokens: number): void {
    const { memory, blockTokens, wordsPerToken } = this.#pool;
    const state = sequence.computed === 0 ? startState(this.#options.model) : this.#read(sequence, sequence.computed - 1, this.#last);
    const firstBlock = Math.floor(sequence.computed / blockTokens);
    for (let position = sequence.computed; position < sequence.computed + tokens; position++) {
      advance(state, sequence.tokens[position]!);
      const index = Math.floor(position / blockTokens);
      const inBlock = position % blockTokens;
      writeSlot(memory, this.#pool.slotAt(sequence.blocks[index]!, inBlock), wordsPerToken, state);
      if (inBlock === blockTokens - 1) sequence.prefixKeys[index] = stateKey(state);
    }
    sequence.computed += tokens;
    if (this.#options.prefixCache) this.#publishFull(sequence, firstBlock);
  }

  #publishFull(sequence: Sequence, firstBlock: number): void {
    const full = Math.floor(sequence.computed / this.#pool.blockTokens);
    for (let index = firstBlock; index < full; index++) this.#pool.publish(sequence.blocks[index]!, sequence.prefixKeys[index]!);
  }

  #sample(sequence: Sequence): number {
    const last = sequence.computed - 1;
    const state = this.#read(sequence, last, this.#last);
    return nextToken(state, this.#read(sequence, attendedPosition(state, last), this.#attended));
  }

  #read(sequence: Sequence, position: number, into: { lo: number; hi: number }) {
    const { memory, blockTokens, wordsPerToken } = this.#pool;
    const block = sequence.blocks[Math.floor(position / blockTokens)]!;
    readSlot(memory, this.#pool.slotAt(block, position % blockTokens), wordsPerToken, into);
    return into;
  }
}
