// Time that moves only when told to, for tests and single-process simulations.
import type { Cancel, Clock } from '../ports/clock.ts';

interface Timer {
  readonly atMs: number;
  /** Timers due at the same time run in the order they were set. */
  readonly order: number;
  readonly run: () => void;
  state: 'waiting' | 'cancelled' | 'done';
}

/** Turns of the event loop given to promise chains after each timer. Every turn also empties the microtask queue. */
const turnsPerFlush = 4;

export class VirtualClock implements Clock {
  #nowMs: number;
  #order = 0;
  /** A binary heap: the earliest timer is first. Cancelled timers stay until they come up or most of the heap is dead. */
  #heap: Timer[] = [];
  #cancelledInHeap = 0;
  #advancing = false;

  constructor(startMs = 1_700_000_000_000) {
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void): Cancel {
    if (Number.isNaN(delayMs)) throw new RangeError('a timer needs a time');
    const timer: Timer = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, run, state: 'waiting' };
    push(this.#heap, timer);
    return () => this.#cancel(timer);
  }

  /** Timers that have not run and were not cancelled. */
  get pending(): number {
    return this.#heap.length - this.#cancelledInHeap;
  }

  /**
   * Moves time on by `ms`. Timers that come due run in order of time, each at its own time, and promise chains settle
   * after each of them. @throws Error when called while another advance is running
   */
  async advance(ms: number): Promise<void> {
    await this.#exclusively(async () => {
      const untilMs = this.#nowMs + ms;
      await flush();
      while (this.#runNext(untilMs)) await flush();
      this.#nowMs = untilMs;
      await flush();
    });
  }

  /** Moves time on from timer to timer until `condition` holds. @throws Error when it does not within `withinMs` of virtual time */
  async until(condition: () => boolean, withinMs: number): Promise<void> {
    await this.#exclusively(async () => {
      const untilMs = this.#nowMs + withinMs;
      await flush();
      while (!condition()) {
        if (!this.#runNext(untilMs)) {
          this.#nowMs = untilMs;
          if (condition()) return;
          throw new Error(`condition not met within ${withinMs} ms of virtual time`);
        }
        await flush();
      }
    });
  }

  #runNext(untilMs: number): boolean {
    for (let timer = this.#heap[0]; timer && timer.atMs <= untilMs; timer = this.#heap[0]) {
      pop(this.#heap);
      if (timer.state === 'cancelled') {
        this.#cancelledInHeap--;
        continue;
      }
      timer.state = 'done';
      this.#nowMs = Math.max(this.#nowMs, timer.atMs);
      timer.run();
      return true;
    }
    return false;
  }

  #cancel(timer: Timer): void {
    if (timer.state !== 'waiting') return;
    timer.state = 'cancelled';
    this.#cancelledInHeap++;
    if (this.#cancelledInHeap < 64 || this.#cancelledInHeap * 2 < this.#heap.length) return;
    // A sorted array is a heap.
    this.#heap = this.#heap.filter((each) => each.state === 'waiting').sort((a, b) => (before(a, b) ? -1 : 1));
    this.#cancelledInHeap = 0;
  }

  async #exclusively(run: () => Promise<void>): Promise<void> {
    if (this.#advancing) throw new Error('the clock is being advanced already');
    this.#advancing = true;
    try {
      await run();
    } finally {
      this.#advancing = false;
    }
  }
}

/** Lets promise chains settle that wait for nothing but each other. */
export async function flush(): Promise<void> {
  for (let turn = 0; turn < turnsPerFlush; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}

function before(a: Timer, b: Timer): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

function push(heap: Timer[], timer: Timer): void {
  let at = heap.push(timer) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!before(timer, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = timer;
}

function pop(heap: Timer[]): void {
  const last = heap.pop()!;
  if (heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = at * 2 + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
    if (!before(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
}
