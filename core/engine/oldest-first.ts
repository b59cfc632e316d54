// Numbers below a limit in the order they were added: adding, deleting and taking the oldest cost the same however many there are.
// (A Map keeps an order too, but looks for its first entry past all those that were deleted since it last grew.)

export class OldestFirst {
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** Ends of the list: the place after the last number. */
  readonly #end: number;
  #size = 0;

  /** @param limit above the largest number */
  constructor(limit: number) {
    this.#end = limit;
    this.#next = new Int32Array(limit + 1).fill(-1);
    this.#previous = new Int32Array(limit + 1).fill(-1);
    this.#next[limit] = limit;
    this.#previous[limit] = limit;
  }

  get size(): number {
    return this.#size;
  }

  has(number: number): boolean {
    return this.#next[number] !== -1;
  }

  /** As the newest. @throws Error when it is there already */
  add(number: number): void {
    if (this.has(number)) throw new Error(`invariant broken: ${number} is added twice`);
    const newest = this.#previous[this.#end]!;
    this.#next[newest] = number;
    this.#previous[number] = newest;
    this.#next[number] = this.#end;
    this.#previous[this.#end] = number;
    this.#size += 1;
  }

  /** False: it was not there. */
  delete(number: number): boolean {
    if (!this.has(number)) return false;
    const next = this.#next[number]!;
    const previous = this.#previous[number]!;
    this.#next[previous] = next;
    this.#previous[next] = previous;
    this.#next[number] = -1;
    this.#size -= 1;
    return true;
  }

  /** Takes the oldest out. Undefined: there is none. */
  shift(): number | undefined {
    const oldest = this.#next[this.#end]!;
    if (oldest === this.#end) return undefined;
    this.delete(oldest);
    return oldest;
  }
}
