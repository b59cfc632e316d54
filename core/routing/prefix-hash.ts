// Hashes of a prompt's leading blocks. Two prompts that share their first n blocks share their first n hashes, so a
// router can guess which instance has a prefix cached without ever seeing the prompt.

/** Bytes per block. About 64 tokens of English. */
export const prefixBlockBytes = 256;
/** Blocks hashed at most: beyond 8 KiB a longer common prefix changes no decision. */
export const prefixBlocksMax = 32;

const encoder = new TextEncoder();

/**
 * Chained 32-bit hashes of the whole 256-byte blocks at the start of `text`, at most 32; a rest shorter than a block
 * is left out. A string is hashed as its UTF-8 bytes. Hash k covers blocks 0 to k. Collisions are harmless: an
 * instance is taken to have a prefix that it has not.
 */
export function prefixHashes(text: string | Uint8Array): number[] {
  const bytes = typeof text === 'string' ? leadingBytes(text) : text;
  const blocks = Math.min(prefixBlocksMax, Math.floor(bytes.length / prefixBlockBytes));
  const hashes: number[] = [];
  let hash = 0x811c9dc5;
  for (let block = 0; block < blocks; block++) {
    const end = (block + 1) * prefixBlockBytes;
    for (let at = block * prefixBlockBytes; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
    hash = mixed(hash);
    hashes.push(hash >>> 0);
  }
  return hashes;
}

/** One character more than there can be blocks, so that a surrogate pair at the edge stays whole. */
function leadingBytes(text: string): Uint8Array {
  return encoder.encode(text.slice(0, prefixBlockBytes * prefixBlocksMax + 1));
}

/** FNV leaves the high bits poorly mixed; this is the usual 32-bit finaliser. */
function mixed(hash: number): number {
  let value = hash ^ (hash >>> 16);
  value = Math.imul(value, 0x85ebca6b);
  value ^= value >>> 13;
  value = Math.imul(value, 0xc2b2ae35);
  return value ^ (value >>> 16);
}
