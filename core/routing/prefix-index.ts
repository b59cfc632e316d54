// Which instances have probably cached which prefixes: remembered from where requests were sent, so it may be wrong in both
// directions. Of engines that report what they cache each report takes the place of what was remembered. Bounded: each instance keeps its most recently used hashes, and the
// share of each shrinks when there are many instances, so that all together never exceed `maxEntries`. A hash that many
// share (a system prompt) remembers the `maxHolders` that used it last: where nearly all have it, it decides nothing, and
// looking all of them up would cost more than the rest of a decision.
//
// Hashes are chained: where the hash of block k was sent, all blocks up to k were.
//
// An entry is a slot of flat arrays and in two lists: the instance's, oldest first, and the hash's, newest first. A
// prompt has up to 32 hashes, and with sets in the place of lists they cost more than the rest of a decision.

export interface PrefixIndexLimits {
  /** (instance, hash) pairs in all. 60 bytes each, roughly. */
  readonly maxEntries: number;
  /** Hashes per instance: about what its cache holds. */
  readonly maxPerInstance: number;
  /** Instances per hash. */
  readonly maxHolders: number;
}

const defaultPrefixIndexLimits: PrefixIndexLimits = { maxEntries: 262_144, maxPerInstance: 16_384, maxHolders: 64 };

const none = -1;

interface Holder {
  readonly instanceId: string;
  entries: number;
  oldest: number;
  newest: number;
}

export class PrefixIndex {
  readonly #limits: PrefixIndexLimits;
  readonly #holders = new Map<string, Holder>();
  /** Hash to the slot of its newest holder. */
  readonly #heads = new Map<number, number>();
  #slots = new Slots(1_024);
  #entries = 0;
  /** Slots from here on have never been used; those before are in use or in `#unused`. */
  #fresh = 0;
  readonly #unused: number[] = [];

  constructor(limits: PrefixIndexLimits = defaultPrefixIndexLimits) {
    this.#limits = limits;
  }

  get entries(): number {
    return this.#entries;
  }

  /** A request with these hashes was sent to the instance. */
  add(instanceId: string, hashes: readonly number[]): void {
    let holder = this.#holders.get(instanceId);
    if (!holder) {
      holder = { instanceId, entries: 0, oldest: none, newest: none };
      this.#holders.set(instanceId, holder);
    }
    // Longest first, so that the shortest prefix, which most requests share, is the last to be forgotten.
    for (let k = hashes.length - 1; k >= 0; k--) this.#touch(holder, hashes[k]!);
  }

  /** The instance says itself what it has: these, the most useful last, and no others. */
  replace(instanceId: string, hashes: readonly number[]): void {
    this.forget(instanceId);
    for (const hash of hashes) this.add(instanceId, [hash]);
  }

  /** How many of the leading blocks each instance has; instances that have none are absent. At most blocks x `maxHolders` steps. */
  match(hashes: readonly number[]): Map<string, number> {
    const matched = new Map<string, number>();
    const { holder, older } = this.#slots;
    for (let k = hashes.length - 1; k >= 0; k--) {
      for (let slot = this.#heads.get(hashes[k]!) ?? none; slot !== none; slot = older[slot]!) {
        const { instanceId } = holder[slot]!;
        if (!matched.has(instanceId)) matched.set(instanceId, k + 1);
      }
    }
    return matched;
  }

  /** Forgets every instance that is not in `instanceIds`. */
  retain(instanceIds: ReadonlySet<string>): void {
    for (const instanceId of this.#holders.keys()) if (!instanceIds.has(instanceId)) this.forget(instanceId);
  }

  /** The instance is gone, or has restarted with an empty cache. */
  forget(instanceId: string): void {
    const holder = this.#holders.get(instanceId);
    if (!holder) return;
    this.#shrink(holder, 0);
    this.#holders.delete(instanceId);
  }

  #touch(holder: Holder, hash: number): void {
    const slots = this.#slots;
    const head = this.#heads.get(hash) ?? none;
    let [count, last] = [0, none];
    for (let slot = head; slot !== none; slot = slots.older[slot]!) {
      if (slots.holder[slot] === holder) {
        this.#unlink(slot);
        this.#link(slot, holder, hash);
        return;
      }
      count += 1;
      last = slot;
    }
    if (count >= this.#limits.maxHolders) this.#remove(last);
    const slot = this.#take(holder);
    if (slot === none) return;
    this.#link(slot, holder, hash);
    this.#entries += 1;
    holder.entries += 1;
  }

  /** A slot for one more entry of the holder; none when there are more instances than entries. */
  #take(holder: Holder): number {
    const { maxEntries, maxPerInstance } = this.#limits;
    const share = Math.max(1, Math.min(maxPerInstance, Math.floor(maxEntries / this.#holders.size)));
    if (holder.entries >= share) this.#shrink(holder, share - 1);
    // Others may have more than their share since there are more instances than there were.
    if (this.#entries >= maxEntries) for (const other of this.#holders.values()) this.#shrink(other, share);
    if (this.#entries >= maxEntries) return none;
    const used = this.#unused.pop();
    if (used !== undefined) return used;
    if (this.#fresh === this.#slots.size) this.#slots = this.#slots.grown(Math.min(maxEntries, this.#fresh * 2));
    return this.#fresh++;
  }

  #shrink(holder: Holder, keep: number): void {
    while (holder.entries > keep) this.#remove(holder.oldest);
  }

  #remove(slot: number): void {
    const { holder } = this.#slots;
    holder[slot]!.entries -= 1;
    this.#unlink(slot);
    holder[slot] = undefined;
    this.#entries -= 1;
    this.#unused.push(slot);
  }

  /** Makes it the newest of its hash and of its holder. */
  #link(slot: number, holder: Holder, hash: number): void {
    const slots = this.#slots;
    const head = this.#heads.get(hash) ?? none;
    slots.hash[slot] = hash;
    slots.holder[slot] = holder;
    slots.newer[slot] = none;
    slots.older[slot] = head;
    if (head !== none) slots.newer[head] = slot;
    this.#heads.set(hash, slot);
    slots.before[slot] = holder.newest;
    slots.after[slot] = none;
    if (holder.newest === none) holder.oldest = slot;
    else slots.after[holder.newest] = slot;
    holder.newest = slot;
  }

  #unlink(slot: number): void {
    const { hash, holder: holders, newer, older, before, after } = this.#slots;
    const [up, down] = [newer[slot]!, older[slot]!];
    if (down !== none) newer[down] = up;
    if (up !== none) older[up] = down;
    else if (down !== none) this.#heads.set(hash[slot]!, down);
    else this.#heads.delete(hash[slot]!);
    const holder = holders[slot]!;
    const [previous, next] = [before[slot]!, after[slot]!];
    if (previous === none) holder.oldest = next;
    else after[previous] = next;
    if (next === none) holder.newest = previous;
    else before[next] = previous;
  }
}

/** The entries: hash and holder, neighbours among the holders of the hash, and among the hashes of the holder. */
class Slots {
  readonly size: number;
  readonly hash: Float64Array;
  readonly holder: (Holder | undefined)[];
  readonly newer: Int32Array;
  readonly older: Int32Array;
  readonly before: Int32Array;
  readonly after: Int32Array;

  constructor(size: number) {
    this.size = size;
    this.hash = new Float64Array(size);
    this.holder = new Array<Holder | undefined>(size).fill(undefined);
    this.newer = new Int32Array(size);
    this.older = new Int32Array(size);
    this.before = new Int32Array(size);
    this.after = new Int32Array(size);
  }

  /** A larger one with the same entries in the same slots. */
  grown(size: number): Slots {
    const next = new Slots(size);
    next.hash.set(this.hash);
    for (const [slot, holder] of this.holder.entries()) next.holder[slot] = holder;
    next.newer.set(this.newer);
    next.older.set(this.older);
    next.before.set(this.before);
    next.after.set(this.after);
    return next;
  }
}
