// The one owner of the engine's context. What is to be done besides computing (begin, stop, save, load) waits for a token
// boundary; then one step is computed for all sequences at once, as one native batch. Anything else that touched the
// context while steps run would wait until all sequences end: the library keeps its lock as long as work is queued.
import { type Foreseen, tokenAfter } from '../foreseen.ts';
import type { StepReport } from './messages.ts';
import type { Context, Sequence } from './package.ts';
import { planStep, type StepItem } from './plan-step.ts';
import type { Job, Sampler } from './sampler.ts';

export interface StepLoopOptions {
  readonly context: Context;
  readonly sequences: number;
  readonly prefillChunk: number;
  readonly sampler: Sampler;
  /** Computes any token. */
  readonly anyToken: number;
  readonly nowMs: () => number;
  readonly report: (report: StepReport) => void;
}

interface Running extends Job {
  readonly id: number;
  readonly slot: number;
  readonly maxTokens: number;
  /** False: it follows another engine. */
  readonly generates: boolean;
  /** Of one that follows: the token after its history is chosen as well, for whoever goes on with it. */
  readonly foresees: boolean;
  foreseen: Foreseen | undefined;
  held: boolean;
  paused: boolean;
}

export interface NewJob {
  readonly id: number;
  /** At the boundary. @throws Error when the sequence cannot be computed as asked */
  readonly make: () => Promise<Job>;
  readonly slot: number;
  readonly maxTokens: number;
  readonly generates: boolean;
  readonly foresees: boolean;
  readonly held: boolean;
  /** What the slot holds may be used. */
  readonly reuse: boolean;
  /** It goes on with what this one, which ends, has followed in the same slot. */
  readonly goesOnFrom: number | undefined;
}

interface Said {
  readonly ids: number[];
  readonly tokens: number[];
  readonly stopped: number[];
  readonly foreseen: ({ readonly id: number } & Foreseen)[];
}

/** A context that is full ends the answer; forgetting its beginning would change it in silence. */
export const shiftNever = () => {
  throw new Error('the context is full');
};

export class StepLoop {
  readonly #options: StepLoopOptions;
  readonly #slots: Sequence[];
  /** In the order in which they began. */
  readonly #running = new Map<number, Running>();
  readonly #controls: { readonly run: () => Promise<void>; readonly isLong: boolean }[] = [];
  #begun: { id: number; kept: number }[] = [];
  #broken: { id: number; message: string }[] = [];
  /** Tokens that were foreseen and belong to a sequence now. */
  #early: { readonly id: number; readonly token: number }[] = [];
  #catchingUp: { readonly id: number; readonly within: number; readonly resolve: () => void }[] = [];
  #wake = () => {};

  constructor(options: StepLoopOptions) {
    this.#options = options;
    this.#slots = Array.from({ length: options.sequences }, () => this.#newSequence());
  }

  /** Runs for ever. */
  async run(): Promise<never> {
    for (;;) {
      await this.#obey();
      this.#tellCaughtUp();
      if (this.#early.length > 0) this.#report(0, [], []);
      const items = planStep(this.#pending(), this.#options.prefillChunk);
      if (items.length > 0) await this.#step(items);
      else if (this.#broken.length > 0) this.#report(0, [], []);
      else if (this.#controls.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** In their order. A state that is saved or loaded takes as long as a step: sequences that are computed get one in between. */
  async #obey(): Promise<void> {
    for (let control = this.#controls.shift(); control; control = this.#controls.shift()) {
      await control.run();
      if (control.isLong && this.#pending().some(({ tokens }) => tokens > 0)) return;
    }
  }

  begin({ id, slot, maxTokens, generates, foresees, held, reuse, goesOnFrom, make }: NewJob): void {
    this.#control(async () => {
      const followed = goesOnFrom === undefined ? undefined : this.#running.get(goesOnFrom);
      // Whatever becomes of this one: its slot has no room for two.
      if (followed) this.#running.delete(followed.id);
      try {
        const job = await make();
        const token = held ? undefined : tokenAfter(followed, job.history);
        const atMost = job.history.length - (generates && token === undefined ? 1 : 0);
        const kept = await this.#prepare(slot, job.history, reuse ? atMost : 0);
        this.#running.set(id, { ...job, id, slot, maxTokens, generates, foresees, foreseen: undefined, held, paused: false });
        this.#begun.push({ id, kept });
        if (token !== undefined) this.#early.push({ id, token });
      } catch (thrown) {
        await this.#renew(slot);
        this.#broken.push({ id, message: messageOf(thrown) });
      }
    });
  }

  feed(id: number, tokens: readonly number[]): void {
    this.#control(async () => void this.#running.get(id)?.history.push(...tokens));
  }

  stop(id: number): void {
    this.#control(async () => void this.#running.delete(id));
  }

  hold(id: number, held: boolean): void {
    this.#control(async () => {
      const running = this.#running.get(id);
      if (running) running.held = held;
    });
  }

  resume(id: number): void {
    this.#control(async () => {
      const running = this.#running.get(id);
      if (running) running.paused = false;
    });
  }

  /** Computes nothing of a sequence any more. False: there is no such one. */
  pause(id: number): Promise<boolean> {
    return this.#ask(async () => {
      const running = this.#running.get(id);
      if (running) running.paused = true;
      return running !== undefined;
    });
  }

  /** Resolves when a sequence has at most `within` tokens to compute, or is no more. */
  caughtUp(id: number, within: number): Promise<void> {
    return new Promise((resolve) => this.#control(async () => void this.#catchingUp.push({ id, within, resolve })));
  }

  /** Writes what is computed of a sequence, and perhaps pauses it. Undefined: there is no such one. */
  save(id: number, path: string, pause: boolean): Promise<{ tokens: number; bytes: number } | undefined> {
    return this.#ask(async () => {
      const running = this.#running.get(id);
      if (!running) return undefined;
      if (pause) running.paused = true;
      const sequence = this.#slots[running.slot]!;
      const { fileSize } = await sequence.saveStateToFile(path);
      return { tokens: sequence.nextTokenIndex, bytes: fileSize };
    }, true);
  }

  /** Fills a slot that no sequence uses. @throws Error when the engine does not take the file: the slot is empty then */
  load(slot: number, path: string): Promise<void> {
    return this.#ask(async () => {
      if ([...this.#running.values()].some((running) => running.slot === slot)) throw new Error(`slot ${slot} is in use`);
      // Whatever a failed load leaves behind would break the next step.
      await this.#renew(slot);
      try {
        await this.#slots[slot]!.loadStateFromFile(path, { acceptRisk: true });
      } catch (thrown) {
        await this.#renew(slot);
        throw thrown;
      }
    }, true);
  }

  /** A token that nobody sees: with sequences running their next step shows as much. @throws Error when it cannot be computed */
  probe(): Promise<void> {
    return this.#ask(async () => {
      const used = new Set([...this.#running.values()].map(({ slot }) => slot));
      const sequence = this.#slots.find((_, slot) => !used.has(slot));
      if (!sequence) return;
      const at = sequence.nextTokenIndex;
      await sequence.controlledEvaluate([this.#options.anyToken]);
      await sequence.eraseContextTokenRanges([{ start: at, end: at + 1 }]);
    });
  }

  #tellCaughtUp(): void {
    if (this.#catchingUp.length === 0) return;
    const isThere = ({ id, within }: { id: number; within: number }) => {
      const running = this.#running.get(id);
      return !running || running.history.length - this.#slots[running.slot]!.nextTokenIndex <= within;
    };
    for (const { resolve } of this.#catchingUp.filter(isThere)) resolve();
    this.#catchingUp = this.#catchingUp.filter((each) => !isThere(each));
  }

  #pending() {
    return [...this.#running.values()]
      .filter(({ held, paused }) => !held && !paused)
      .map(({ id, slot, history, generates, foresees }) => ({
        ...{ id, generates, foresees },
        tokens: history.length - this.#slots[slot]!.nextTokenIndex,
      }));
  }

  async #step(items: readonly StepItem[]): Promise<void> {
    const { nowMs, sampler } = this.#options;
    const beganMs = nowMs();
    const tokens = await Promise.all(
      items.map(async ({ id, tokens: count, samples }) => {
        const job = this.#running.get(id)!;
        const sequence = this.#slots[job.slot]!;
        const from = sequence.nextTokenIndex;
        try {
          return await sampler.evaluate(sequence, job, job.history.slice(from, from + count), samples);
        } catch (thrown) {
          return { error: messageOf(thrown) };
        }
      }),
    );
    const ms = nowMs() - beganMs;
    for (const [index, token] of tokens.entries()) {
      const { id } = items[index]!;
      if (typeof token !== 'object') continue;
      this.#broken.push({ id, message: token.error });
      const { slot } = this.#running.get(id)!;
      this.#running.delete(id);
      await this.#renew(slot);
    }
    this.#report(ms, items, tokens);
  }

  #report(ms: number, items: readonly StepItem[], results: readonly (number | undefined | object)[]): void {
    const said: Said = { ids: [], tokens: [], stopped: [], foreseen: [] };
    for (const { id, token } of this.#early.splice(0)) this.#say(said, id, token);
    let decoded = 0;
    let prefilled = 0;
    for (const [index, { id, tokens: count, samples }] of items.entries()) {
      if (count === 1 && samples) decoded++;
      else prefilled += count;
      const token = results[index];
      if (typeof token === 'number') this.#say(said, id, token);
    }
    const [begun, failed] = [this.#begun, this.#broken];
    this.#begun = [];
    this.#broken = [];
    this.#options.report({ type: 'step', ms, decoded, prefilled, ...said, failed, begun });
  }

  /** A sequence has its next token; one that follows has foreseen it. */
  #say(said: Said, id: number, token: number): void {
    const running = this.#running.get(id);
    if (!running) return;
    const isLast = this.#options.sampler.ends(running, token);
    if (running.foresees) {
      running.foreseen = { after: running.history.length, token };
      if (!isLast) said.foreseen.push({ id, ...running.foreseen });
      return;
    }
    if (isLast) {
      said.stopped.push(id);
      this.#running.delete(id);
      return;
    }
    running.history.push(token);
    said.ids.push(id);
    said.tokens.push(token);
    if (running.history.length >= running.maxTokens) this.#running.delete(id);
  }

  /** Makes a slot hold a beginning of the history. Gives its length, `atMost` tokens. */
  async #prepare(slot: number, history: readonly number[], atMost: number): Promise<number> {
    const sequence = this.#slots[slot]!;
    const there = sequence.contextTokens;
    const most = Math.min(there.length, atMost);
    let kept = 0;
    while (kept < most && there[kept] === history[kept]) kept++;
    if (kept < there.length) {
      if (kept === 0) await this.#renew(slot);
      else await sequence.eraseContextTokenRanges([{ start: kept, end: there.length }]);
    }
    return kept;
  }

  async #renew(slot: number): Promise<void> {
    await this.#slots[slot]!.dispose();
    this.#slots[slot] = this.#newSequence();
  }

  #newSequence(): Sequence {
    return this.#options.context.getSequence({ contextShift: { strategy: shiftNever } });
  }

  #control(run: () => Promise<void>, isLong = false): void {
    this.#controls.push({ run, isLong });
    this.#wake();
  }

  #ask<T>(run: () => Promise<T>, isLong = false): Promise<T> {
    return new Promise((resolve, reject) => this.#control(() => run().then(resolve, reject), isLong));
  }
}

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
