// The newest epoch of each request that an instance has heard of, ended ones included; the oldest are forgotten. Never changed,
// as an actor's state must not be: another one shares all but its newest part, so that a request copies a few entries and not
// all of them.

/** Entries of one part. */
const partSize = 64;
const maxParts = 16;
/** Requests remembered after their end, at most. */
export const maxRemembered = partSize * maxParts;

export class NewestEpochs {
  /** Of whom an epoch was last heard. */
  readonly last: string | undefined;
  /** The newest first; what is in one part hides the same request in those after it. */
  readonly #parts: readonly ReadonlyMap<string, number>[];

  private constructor(parts: readonly ReadonlyMap<string, number>[], last: string | undefined) {
    this.#parts = parts;
    this.last = last;
  }

  static readonly none = new NewestEpochs([new Map()], undefined);

  /** At most `maxRemembered`, and those that run besides. */
  get size(): number {
    return this.#parts.reduce((sum, part) => sum + part.size, 0);
  }

  get(requestId: string): number | undefined {
    for (const part of this.#parts) {
      const epoch = part.get(requestId);
      if (epoch !== undefined) return epoch;
    }
    return undefined;
  }

  /** `runs`: who is not forgotten, however long ago it was heard of. */
  with(requestId: string, epoch: number, runs: (requestId: string) => boolean): NewestEpochs {
    const [newest, ...older] = this.#parts as readonly [ReadonlyMap<string, number>, ...ReadonlyMap<string, number>[]];
    if (newest.size < partSize) return new NewestEpochs([new Map(newest).set(requestId, epoch), ...older], requestId);
    const parts: ReadonlyMap<string, number>[] = [new Map([[requestId, epoch]]), ...this.#parts];
    const oldest = parts.length > maxParts ? parts.pop()! : new Map<string, number>();
    const kept = [...oldest].filter(([id]) => runs(id));
    if (kept.length > 0) parts.push(new Map([...kept, ...parts.pop()!]));
    return new NewestEpochs(parts, requestId);
  }
}
