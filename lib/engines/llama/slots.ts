// The engine's places for sequences. A free one keeps the KV of its last sequence, as a cache for prompts that begin alike.
// Only the engine knows for sure what a slot holds: this is for choosing, and for the status report.

interface Slot {
  /** Who has it: a sequence or a reservation. */
  owner: string | undefined;
  /** What a free one holds. */
  tokens: readonly number[];
  freedAt: number;
}

export class Slots {
  readonly #slots: Slot[];
  #turn = 0;

  constructor(count: number) {
    this.#slots = Array.from({ length: count }, () => ({ owner: undefined, tokens: [], freedAt: 0 }));
  }

  get free(): number {
    return this.#slots.filter(({ owner }) => owner === undefined).length;
  }

  /** Tokens in the caches of free slots, in whole blocks. */
  cachedBlocks(blockTokens: number): number {
    let blocks = 0;
    for (const { owner, tokens } of this.#slots) if (owner === undefined) blocks += Math.floor(tokens.length / blockTokens);
    return blocks;
  }

  /** The free slot with the longest beginning in common; among equals an empty one, then the one that was freed first. Undefined: none is free. */
  take(owner: string, tokens: readonly number[]): number | undefined {
    let best: number | undefined;
    let bestShared = -1;
    for (const [index, slot] of this.#slots.entries()) {
      if (slot.owner !== undefined) continue;
      const shared = sharedBeginning(slot.tokens, tokens);
      if (best === undefined || shared > bestShared || (shared === bestShared && isBetter(slot, this.#slots[best]!))) {
        best = index;
        bestShared = shared;
      }
    }
    if (best !== undefined) this.#slots[best] = { owner, tokens: [], freedAt: 0 };
    return best;
  }

  /** `tokens`: what it holds now. */
  release(index: number, tokens: readonly number[]): void {
    this.#slots[index] = { owner: undefined, tokens, freedAt: ++this.#turn };
  }

  /** The slot goes from a reservation to its sequence. */
  give(index: number, owner: string): void {
    this.#slots[index]!.owner = owner;
  }

  /** The engine has lost everything. */
  clear(): void {
    for (const index of this.#slots.keys()) this.release(index, []);
  }
}

export function sharedBeginning(one: readonly number[], other: readonly number[]): number {
  const most = Math.min(one.length, other.length);
  let shared = 0;
  while (shared < most && one[shared] === other[shared]) shared++;
  return shared;
}

function isBetter(one: Slot, other: Slot): boolean {
  if ((one.tokens.length === 0) !== (other.tokens.length === 0)) return one.tokens.length === 0;
  return one.freedAt < other.freedAt;
}
