// The order of an engine's KV events: batches are numbered from 0, and a subscriber may lose some. What is missing is asked for
// again; what nobody has any more makes everything known before it worthless.

export type OrderAction =
  /** The batch is the next one. */
  | 'apply'
  /** Known already, or it comes again with those that are missing. */
  | 'ignore'
  /** Nothing that was known holds any more. Then apply this one. */
  | 'forget_and_apply';

export class EventOrder {
  readonly #canReplay: boolean;
  /** The number that comes next. */
  #next = 0;
  /** Of the batches that wait for a replay, the last; -1: none does. */
  #waiting = -1;
  #replaying = false;
  /** Where the replay began. */
  #from = 0;

  constructor(options: { readonly canReplay: boolean }) {
    this.#canReplay = options.canReplay;
  }

  /** A publisher is there, perhaps another one than before: begin anew. */
  connected(): void {
    this.#next = 0;
    this.#waiting = -1;
    this.#replaying = false;
  }

  /** Of a batch that was published. */
  published(sequence: number): OrderAction {
    if (sequence === this.#next) return this.#accept(sequence, 'apply');
    // A publisher that begins anew is another engine: one that was restarted.
    if (sequence < this.#next) return sequence === 0 ? this.#accept(sequence, 'forget_and_apply') : 'ignore';
    if (!this.#canReplay) return this.#accept(sequence, 'forget_and_apply');
    this.#waiting = Math.max(this.#waiting, sequence);
    return 'ignore';
  }

  /** Of a batch that was repeated for us. */
  replayed(sequence: number): OrderAction {
    if (sequence < this.#next) return 'ignore';
    return this.#accept(sequence, sequence === this.#next ? 'apply' : 'forget_and_apply');
  }

  /** From which number on to ask for batches now; undefined: none is missing, or they have been asked for. */
  wanted(): number | undefined {
    if (this.#replaying || this.#waiting < this.#next) return undefined;
    this.#replaying = true;
    this.#from = this.#next;
    return this.#next;
  }

  /** Everything that could be repeated has been, or nobody answers. True: batches are lost for good, and nothing that was known holds. */
  replayEnded(): boolean {
    this.#replaying = false;
    if (this.#waiting < this.#next) this.#waiting = -1;
    if (this.#waiting < 0 || this.#next > this.#from) return false;
    this.#next = this.#waiting + 1;
    this.#waiting = -1;
    return true;
  }

  #accept(sequence: number, action: OrderAction): OrderAction {
    this.#next = sequence + 1;
    return action;
  }
}
