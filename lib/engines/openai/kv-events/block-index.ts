// Which KV blocks an engine has cached, as its events say, and how much of a prompt that is. Blocks form chains: each begins
// where its parent ends.
import type { KvEvent } from './kv-event.ts';

interface Block {
  /** Parent and tokens: where it is found. */
  readonly place: string;
}

export class BlockIndex {
  readonly #maxBlocks: number;
  readonly #blocks = new Map<string, Block>();
  /** Place to hash. */
  readonly #places = new Map<string, string>();
  #blockTokens = 0;
  /** Grows with every change. */
  version = 0;

  /** Beyond `maxBlocks` further blocks are not remembered: the engine has them, and we do not know. */
  constructor(maxBlocks = 262_144) {
    this.#maxBlocks = maxBlocks;
  }

  get size(): number {
    return this.#blocks.size;
  }

  /** Tokens of a block; 0 while nothing is known. */
  get blockTokens(): number {
    return this.#blockTokens;
  }

  apply(event: KvEvent): void {
    this.version += 1;
    if (event.type === 'cleared') this.clear();
    else if (event.type === 'removed') for (const hash of event.hashes) this.#remove(hash);
    else if (!event.special) this.#store(event);
  }

  clear(): void {
    this.version += 1;
    this.#blocks.clear();
    this.#places.clear();
  }

  /** How many of the first of these tokens are cached, in whole blocks. */
  cachedTokens(tokenIds: readonly number[]): number {
    const size = this.#blockTokens;
    if (size === 0) return 0;
    let parent: string | undefined;
    let end = 0;
    while (end + size <= tokenIds.length) {
      const hash = this.#places.get(placeOf(parent, tokenIds, end, size));
      if (hash === undefined) break;
      parent = hash;
      end += size;
    }
    return end;
  }

  #store({ hashes, parent, tokenIds, blockTokens }: Extract<KvEvent, { type: 'stored' }>): void {
    this.#blockTokens = blockTokens;
    let before = parent;
    hashes.forEach((hash, index) => {
      const place = placeOf(before, tokenIds, index * blockTokens, blockTokens);
      before = hash;
      if (this.#blocks.has(hash) || this.#blocks.size >= this.#maxBlocks) return;
      this.#blocks.set(hash, { place });
      this.#places.set(place, hash);
    });
  }

  #remove(hash: string): void {
    const block = this.#blocks.get(hash);
    if (!block) return;
    this.#blocks.delete(hash);
    if (this.#places.get(block.place) === hash) this.#places.delete(block.place);
  }
}

function placeOf(parent: string | undefined, tokenIds: readonly number[], start: number, size: number): string {
  return `${parent ?? ''}|${tokenIds.slice(start, start + size).join(',')}`;
}
