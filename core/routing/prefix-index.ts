// Which instances have probably cached which prefixes: remembered from where requests were sent, not reported by
// engines, so it may be wrong in both directions. Bounded: each instance keeps its most recently used hashes, and the
// share of each shrinks when there are many instances, so that all together never exceed `maxEntries`. A hash that many
// share (a system prompt) remembers the `maxHolders` that used it last: where nearly all have it, it decides nothing, and
// looking all of them up would cost more than the rest of a decision.
//
// Hashes are chained: where the hash of block k was sent, all blocks up to k were.

export interface PrefixIndexLimits {
  /** (instance, hash) pairs in all. 100 bytes each, roughly. */
  readonly maxEntries: number;
  /** Hashes per instance: about what its cache holds. */
  readonly maxPerInstance: number;
  /** Instances per hash. */
  readonly maxHolders: number;
}

export const defaultPrefixIndexLimits: PrefixIndexLimits = { maxEntries: 262_144, maxPerInstance: 16_384, maxHolders: 64 };

export class PrefixIndex {
  readonly #limits: PrefixIndexLimits;
  /** Per instance its hashes, least recently used first. */
  readonly #recent = new Map<string, Set<number>>();
  /** Per hash the instances, least recently used first. */
  readonly #holders = new Map<number, Set<string>>();
  #entries = 0;

  constructor(limits: PrefixIndexLimits = defaultPrefixIndexLimits) {
    this.#limits = limits;
  }

  get entries(): number {
    return this.#entries;
  }

  /** A request with these hashes was sent to the instance. */
  add(instanceId: string, hashes: readonly number[]): void {
    let recent = this.#recent.get(instanceId);
    if (!recent) {
      recent = new Set();
      this.#recent.set(instanceId, recent);
    }
    // Longest first, so that the shortest prefix, which most requests share, is the last to be forgotten.
    for (let k = hashes.length - 1; k >= 0; k--) this.#touch(instanceId, recent, hashes[k]!);
    this.#shrink(instanceId, recent);
  }

  /** How many of the leading blocks each instance has; instances that have none are absent. At most blocks x `maxHolders` steps. */
  match(hashes: readonly number[]): Map<string, number> {
    const matched = new Map<string, number>();
    for (let k = hashes.length - 1; k >= 0; k--) {
      for (const instanceId of this.#holders.get(hashes[k]!) ?? []) if (!matched.has(instanceId)) matched.set(instanceId, k + 1);
    }
    return matched;
  }

  /** Forgets every instance that is not in `instanceIds`. */
  retain(instanceIds: ReadonlySet<string>): void {
    for (const instanceId of this.#recent.keys()) if (!instanceIds.has(instanceId)) this.forget(instanceId);
  }

  /** The instance is gone, or has restarted with an empty cache. */
  forget(instanceId: string): void {
    for (const hash of this.#recent.get(instanceId) ?? []) this.#removeHolder(instanceId, hash);
    this.#recent.delete(instanceId);
  }

  #touch(instanceId: string, recent: Set<number>, hash: number): void {
    let holders = this.#holders.get(hash);
    if (!holders) {
      holders = new Set();
      this.#holders.set(hash, holders);
    }
    if (recent.delete(hash)) holders.delete(instanceId);
    else this.#entries += 1;
    recent.add(hash);
    holders.add(instanceId);
    if (holders.size <= this.#limits.maxHolders) return;
    const [oldest] = holders;
    this.#recent.get(oldest!)?.delete(hash);
    this.#removeHolder(oldest!, hash);
  }

  #shrink(instanceId: string, recent: Set<number>): void {
    const share = Math.max(1, Math.min(this.#limits.maxPerInstance, Math.floor(this.#limits.maxEntries / this.#recent.size)));
    this.#dropOldest(instanceId, recent, share);
    if (this.#entries <= this.#limits.maxEntries) return;
    for (const [other, hashes] of this.#recent) this.#dropOldest(other, hashes, share);
  }

  #dropOldest(instanceId: string, recent: Set<number>, keep: number): void {
    for (const hash of recent) {
      if (recent.size <= keep) return;
      recent.delete(hash);
      this.#removeHolder(instanceId, hash);
    }
  }

  #removeHolder(instanceId: string, hash: number): void {
    const holders = this.#holders.get(hash);
    if (!holders?.delete(instanceId)) return;
    this.#entries -= 1;
    if (holders.size === 0) this.#holders.delete(hash);
  }
}
