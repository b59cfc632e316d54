// One request as its gateway sees it: the tokens so far, who may speak for it, and what contradicts them.
import type { EngineAdapter, EngineEvent, GenerateRequest } from '../../lib/ports/engines.ts';
import type { Refusal } from '../../proto/gen/messages.ts';

/** Longer than any single step of a test takes on a busy machine. */
const withinMs = 60_000;

export class Conversation {
  readonly request: GenerateRequest;
  readonly ids: number[] = [];
  /** When each token arrived, ms of performance.now(). */
  readonly atMs: number[] = [];
  text = '';
  epoch = 1;
  /** Of the epoch that counts. */
  finishReason = '';
  error: Refusal | undefined;
  /** Tokens that were told twice and differed, or that were left out. */
  readonly contradictions: string[] = [];
  readonly #waiting = new Set<() => void>();

  constructor(request: GenerateRequest) {
    this.request = request;
  }

  get id(): string {
    return this.request.requestId;
  }

  take(event: EngineEvent): void {
    if (event.epoch !== this.epoch) return;
    const news = this.ids.length - event.index;
    if (news < 0) this.contradictions.push(`token ${event.index} after ${this.ids.length} tokens`);
    event.tokenIds.forEach((id, offset) => {
      const index = event.index + offset;
      if (index < this.ids.length) {
        if (this.ids[index] !== id) this.contradictions.push(`token ${index} is ${this.ids[index]}, then ${id}`);
        return;
      }
      this.ids.push(id);
      this.atMs.push(performance.now());
    });
    if (news <= 0) this.text += event.text;
    if (event.finishReason !== '') this.finishReason = event.finishReason;
    this.error = event.error ?? undefined;
    for (const look of this.#waiting) look();
  }

  /** @throws Error when the stream ends, fails or takes too long before */
  async until(condition: () => boolean, what: string, limitMs = withinMs): Promise<void> {
    if (condition()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const seen = () => `${this.id}: ${what}; ${this.ids.length} tokens, finish "${this.finishReason}", error ${JSON.stringify(this.error)}`;
    const timer = setTimeout(() => reject(new Error(`not within ${limitMs} ms: ${seen()}`)), limitMs);
    const look = () => {
      if (condition()) resolve();
      else if (this.finishReason !== '' || this.error) reject(new Error(`has ended before ${seen()}`));
    };
    this.#waiting.add(look);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(look);
    }
  }

  tokens(count: number, limitMs?: number): Promise<void> {
    return this.until(() => this.ids.length >= count, `${count} tokens`, limitMs);
  }

  ended(): Promise<void> {
    return this.until(() => this.finishReason !== '', 'its end');
  }

  failed(): Promise<void> {
    return this.until(() => this.error !== undefined, 'a failure');
  }

  /** Opens it where nothing of it is but its tokens. */
  recomputeOn(engine: EngineAdapter): Refusal | undefined {
    this.epoch++;
    this.error = undefined;
    const { request, epoch, ids, text } = this;
    return engine.open({ ...request, epoch, resumeTokenIds: [...ids], resumeText: text, nextIndex: ids.length }, false);
  }

  /** Opens it where a reservation holds it. */
  takeOverOn(engine: EngineAdapter, reservationId: string): Refusal | undefined {
    this.epoch++;
    const { request, epoch, ids } = this;
    return engine.open({ ...request, epoch, reservationId, body: new Uint8Array(0), nextIndex: ids.length }, false);
  }
}
