// One question to a server, asked again a while after each answer. Never twice at the same time.
import type { Cancel, Clock } from '../../ports/clock.ts';

export interface RepeatedOptions {
  readonly clock: Clock;
  /** From an answer to the next question. */
  readonly pauseMs: () => number;
  readonly ask: () => Promise<void>;
  /** The question failed. Not called once it was stopped meanwhile. */
  readonly failed: (thrown: unknown) => void;
}

export class Repeated {
  readonly #options: RepeatedOptions;
  #going = false;
  #asking = false;
  #again = false;
  #cancel: Cancel = () => {};

  constructor(options: RepeatedOptions) {
    this.#options = options;
  }

  /** Asks after `delayMs`, and again after each answer. */
  start(delayMs = 0): void {
    if (this.#going) return;
    this.#going = true;
    this.#next(delayMs);
  }

  /** Asks now, or at once after the answer to the question under way. */
  hurry(): void {
    if (!this.#going) return;
    if (this.#asking) this.#again = true;
    else this.#next(0);
  }

  stop(): void {
    this.#going = false;
    this.#cancel();
  }

  #next(delayMs: number): void {
    if (this.#asking) return;
    this.#cancel();
    this.#cancel = this.#options.clock.after(delayMs, () => void this.#ask());
  }

  async #ask(): Promise<void> {
    this.#asking = true;
    this.#again = false;
    try {
      await this.#options.ask();
    } catch (thrown) {
      if (this.#going) this.#options.failed(thrown);
    }
    this.#asking = false;
    if (this.#going) this.#next(this.#again ? 0 : this.#options.pauseMs());
  }
}
