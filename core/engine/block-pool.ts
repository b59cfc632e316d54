// Paged KV memory of one engine: who holds which block, which full blocks can be found again by their prefix, and the
// bytes themselves. Every block is in exactly one place: free, held (a count of holders), or kept for its prefix and
// evicted when room is needed, least recently used first.

import { OldestFirst } from './oldest-first.ts';

export interface BlockPoolOptions {
  readonly blocks: number;
  readonly blockTokens: number;
  /** A multiple of 4, at least 8. */
  readonly kvBytesPerToken: number;
}

export class BlockPool {
  readonly total: number;
  readonly blockTokens: number;
  readonly blockBytes: number;
  readonly wordsPerToken: number;
  #memory: Uint32Array | undefined;
  #bytes: Uint8Array | undefined;
  readonly #holders: Int32Array;
  readonly #free: number[];
  /** Unheld blocks that a prefix can find. */
  readonly #evictable: OldestFirst;
  readonly #blockOfPrefix = new Map<number, number>();
  /** By block; NaN: no prefix finds it. */
  readonly #prefixOfBlock: Float64Array;

  /** @throws RangeError when the sizes do not fit into one buffer */
  constructor(options: BlockPoolOptions) {
    const { blocks, blockTokens, kvBytesPerToken } = options;
    if (kvBytesPerToken % 4 !== 0 || kvBytesPerToken < 8) throw new RangeError('kvBytesPerToken must be a multiple of 4, at least 8');
    if (blocks * blockTokens * kvBytesPerToken > 2 ** 33)
      throw new RangeError('KV memory of an engine is limited to 8 GiB: lower blocks or kvBytesPerToken');
    this.total = blocks;
    this.blockTokens = blockTokens;
    this.blockBytes = blockTokens * kvBytesPerToken;
    this.wordsPerToken = kvBytesPerToken / 4;
    this.#holders = new Int32Array(blocks);
    this.#evictable = new OldestFirst(blocks);
    this.#prefixOfBlock = new Float64Array(blocks).fill(Number.NaN);
    this.#free = Array.from({ length: blocks }, (_, i) => blocks - 1 - i);
  }

  /** Blocks that can be taken now, including kept ones. */
  get free(): number {
    return this.#free.length + this.#evictable.size;
  }

  /** Blocks that a prefix can find, held or not. */
  get cached(): number {
    return this.#blockOfPrefix.size;
  }

  blocksFor(tokens: number): number {
    return Math.ceil(tokens / this.blockTokens);
  }

  /** The whole memory as words. Made at first use; the system gives pages only as they are written. */
  get memory(): Uint32Array {
    this.#memory ??= new Uint32Array(new ArrayBuffer(this.total * this.blockBytes));
    return this.#memory;
  }

  /** One block's bytes: a window into the memory, not a copy. */
  bytes(block: number): Uint8Array {
    this.#bytes ??= new Uint8Array(this.memory.buffer);
    return this.#bytes.subarray(block * this.blockBytes, (block + 1) * this.blockBytes);
  }

  /** Where the slot of a token of a block begins, in words. */
  slotAt(block: number, tokenInBlock: number): number {
    return (block * this.blockTokens + tokenInBlock) * this.wordsPerToken;
  }

  /** A block with one holder, or undefined when all are held. */
  take(): number | undefined {
    let block = this.#free.pop();
    if (block === undefined) {
      block = this.#evictable.shift();
      if (block === undefined) return undefined;
      this.#forget(block);
    }
    this.#holders[block] = 1;
    return block;
  }

  /** One more holder. */
  hold(block: number): void {
    if (this.#holders[block] === 0) {
      if (!this.#evictable.delete(block)) throw new Error(`invariant broken: block ${block} is free and cannot be held`);
    }
    this.#holders[block]!++;
  }

  /** One holder less; without any, the block is kept if a prefix can find it, else free. */
  drop(block: number): void {
    if (this.#holders[block]! <= 0) throw new Error(`invariant broken: block ${block} dropped without a holder`);
    if (--this.#holders[block]! > 0) return;
    if (this.isPublished(block)) this.#evictable.add(block);
    else this.#free.push(block);
  }

  /** Drops a sequence's blocks, last first: the end of a prefix is evicted before its beginning. */
  dropAll(blocks: readonly number[]): void {
    for (let i = blocks.length - 1; i >= 0; i--) this.drop(blocks[i]!);
  }

  /** Lets a full block be found by its prefix. A prefix that is known already stays with its block. */
  publish(block: number, prefixKey: number): void {
    if (this.isPublished(block) || this.#blockOfPrefix.has(prefixKey)) return;
    this.#blockOfPrefix.set(prefixKey, block);
    this.#prefixOfBlock[block] = prefixKey;
  }

  isPublished(block: number): boolean {
    return !Number.isNaN(this.#prefixOfBlock[block]);
  }

  find(prefixKey: number): number | undefined {
    return this.#blockOfPrefix.get(prefixKey);
  }

  /** True when writing to the block can disturb nobody. */
  isExclusive(block: number): boolean {
    return this.#holders[block] === 1 && !this.isPublished(block);
  }

  /** Walks over all blocks: for tests and for the audit at the end of an engine. `owners` lists every holding. @throws on the first flaw */
  audit(owners: Iterable<readonly number[]>): void {
    const held = new Int32Array(this.total);
    for (const blocks of owners) for (const block of blocks) held[block]!++;
    const free = new Set(this.#free);
    let published = 0;
    if (free.size !== this.#free.length) throw new Error('invariant broken: a block is free twice');
    for (let block = 0; block < this.total; block++) {
      if (held[block] !== this.#holders[block])
        throw new Error(`invariant broken: block ${block} counts ${this.#holders[block]} holders and has ${held[block]}`);
      const places = Number(free.has(block)) + Number(this.#evictable.has(block)) + Number(held[block]! > 0);
      if (places !== 1) throw new Error(`invariant broken: block ${block} is in ${places} places`);
      if (!this.isPublished(block)) continue;
      if (this.#blockOfPrefix.get(this.#prefixOfBlock[block]!) !== block) throw new Error(`invariant broken: block ${block} and its prefix disagree`);
      if (free.has(block)) throw new Error(`invariant broken: free block ${block} has a prefix`);
      published++;
    }
    if (this.#blockOfPrefix.size !== published) throw new Error('invariant broken: prefixes and blocks do not pair up');
  }

  #forget(block: number): void {
    if (!this.isPublished(block)) return;
    this.#blockOfPrefix.delete(this.#prefixOfBlock[block]!);
    this.#prefixOfBlock[block] = Number.NaN;
  }
}
