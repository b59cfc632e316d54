// The parts that both kinds of real connection share: frames that come before anybody listens, handlers for the end, and
// waiting for the send buffer to empty.

/** Frames held before `onFrame` is set; above this the connection stops reading. */
const maxHeldFrames = 64;

export class ConnectionEnds {
  closedWhy: string | undefined;
  #onFrame: ((frame: Uint8Array) => void) | undefined;
  #held: Uint8Array[] = [];
  #closeHandlers: ((why: string) => void)[] = [];
  #waiting: { bytes: number; resolve: () => void }[] = [];

  /** A frame has come. Returns false when reading should stop until `listen`. */
  arrive(frame: Uint8Array): boolean {
    if (this.closedWhy !== undefined) return true;
    if (this.#onFrame) {
      this.#onFrame(frame);
      return true;
    }
    // A copy: a slice of a Buffer would be the same memory.
    this.#held.push(new Uint8Array(frame));
    return this.#held.length < maxHeldFrames;
  }

  listen(handler: (frame: Uint8Array) => void): void {
    this.#onFrame = handler;
    for (const frame of this.#held.splice(0)) if (this.closedWhy === undefined) handler(frame);
  }

  whenClosed(handler: (why: string) => void): void {
    const why = this.closedWhy;
    if (why === undefined) this.#closeHandlers.push(handler);
    else queueMicrotask(() => handler(why));
  }

  /** Resolves when `left` is called with less than `bytes` (or nothing) in the buffer. */
  waitBelow(bytes: number, buffered: number): Promise<void> {
    if (this.closedWhy !== undefined || buffered < bytes || buffered === 0) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push({ bytes, resolve }));
  }

  /** Bytes have left; `buffered` are still there. */
  left(buffered: number): void {
    if (this.#waiting.length === 0) return;
    const ready = this.#waiting.filter((waiter) => buffered < waiter.bytes || buffered === 0);
    this.#waiting = this.#waiting.filter((waiter) => !ready.includes(waiter));
    for (const waiter of ready) waiter.resolve();
  }

  end(why: string): void {
    if (this.closedWhy !== undefined) return;
    this.closedWhy = why;
    this.#held = [];
    for (const waiter of this.#waiting.splice(0)) waiter.resolve();
    const handlers = this.#closeHandlers.splice(0);
    queueMicrotask(() => {
      for (const handler of handlers) handler(why);
    });
  }
}
