// Which leading blocks of texts a server has cached: its events speak of token ids, routers think in hashes of texts, and the prompts
// that were served here are known as both. A text block counts as cached when the tokens up to its end are, by proportion.
import { readRequestBody } from '../../../../core/openai/request-body.ts';
import { prefixBlockBytes, prefixHashes } from '../../../../core/routing/prefix-hash.ts';
import type { BlockIndex } from './block-index.ts';

interface Prompt {
  readonly hashes: readonly number[];
  /** Those of the hashed part. */
  readonly tokenIds: readonly number[];
  /** Tokens of a text block, on average. */
  readonly tokensPerBlock: number;
}

/** Prompts remembered: those that were served last. With 32 hashes each a report of all of them has room for the newest 128. */
const maxPrompts = 512;

export class CachedPrompts {
  readonly #blocks: BlockIndex;
  /** By their last hash. */
  readonly #prompts = new Map<number, Prompt>();
  #added = 0;

  constructor(blocks: BlockIndex) {
    this.#blocks = blocks;
  }

  get size(): number {
    return this.#prompts.size;
  }

  /** A prompt was served: the request's body, and its token ids as the server told them. */
  served(endpoint: string, body: Uint8Array, promptIds: readonly number[]): void {
    const read = readRequestBody(endpoint === 'completions' ? 'completions' : 'chat', body, []);
    if (!('leadingText' in read)) return;
    const hashes = prefixHashes(read.leadingText);
    if (hashes.length === 0) return;
    // The estimate of tokens is made of the text's length: a quarter of it.
    const bytes = Math.max(hashes.length * prefixBlockBytes, read.promptTokens * 4);
    const tokensPerBlock = (promptIds.length * prefixBlockBytes) / bytes;
    const key = hashes.at(-1)!;
    this.#prompts.delete(key);
    this.#prompts.set(key, { hashes, tokensPerBlock, tokenIds: promptIds.slice(0, Math.ceil(hashes.length * tokensPerBlock)) });
    if (this.#prompts.size > maxPrompts) this.#prompts.delete(this.#prompts.keys().next().value!);
    this.#added += 1;
  }

  /** Hashes of what is cached; of prompts served last, and of their beginnings, last. */
  cached(): { version: number; hashes: number[] } {
    const hashes = new Set<number>();
    for (const { hashes: all, tokenIds, tokensPerBlock } of this.#prompts.values()) {
      const cachedTokens = this.#blocks.cachedTokens(tokenIds);
      // A last block that is not full is never cached: the end of the text is, if all whole blocks before it are.
      const reach = cachedTokens + this.#blocks.blockTokens > tokenIds.length && cachedTokens > 0 ? tokenIds.length : cachedTokens;
      for (let block = all.length - 1; block >= 0; block--) {
        if (Math.floor((block + 1) * tokensPerBlock) > reach) continue;
        hashes.delete(all[block]!);
        hashes.add(all[block]!);
      }
    }
    return { version: this.#added + this.#blocks.version, hashes: [...hashes] };
  }
}
