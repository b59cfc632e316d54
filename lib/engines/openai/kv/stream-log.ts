// What a stream has said, as far as somebody else needs it to go on: all its token ids, and its last events whole.
import type { EngineEvent } from '../../../ports/engines.ts';

/** Events kept: those that may be on their way to the gateway when a request moves. */
const keptEvents = 64;

export class StreamLog {
  /** Undefined: not known, or not worth keeping. */
  promptIds: readonly number[] | undefined;
  readonly outputIds: number[];
  #told: EngineEvent[] = [];
  #isWhole = true;

  constructor(outputIds: readonly number[]) {
    this.outputIds = [...outputIds];
  }

  /** Every token has its id here. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  get told(): readonly EngineEvent[] {
    return this.#told;
  }

  add(event: EngineEvent): void {
    if (event.pieces || event.index !== this.outputIds.length) this.#isWhole = false;
    if (!this.#isWhole || event.tokenIds.length === 0) return;
    for (const id of event.tokenIds) this.outputIds.push(id);
    this.#told.push(event);
    if (this.#told.length > keptEvents) this.#told.shift();
  }
}
