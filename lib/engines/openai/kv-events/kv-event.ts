// What vLLM and SGLang say about the blocks they cache: batches of events, MessagePack of [time, [event, …], rank].
import { type Packed, unpack } from './msgpack.ts';

export type KvEvent =
  | {
      readonly type: 'stored';
      /** In order; each is the parent of the next. */
      readonly hashes: readonly string[];
      /** Of the block before the first; undefined: it begins a prompt. */
      readonly parent: string | undefined;
      readonly tokenIds: readonly number[];
      readonly blockTokens: number;
      /** Belongs to an adapter (LoRA) or to pictures: other requests with the same tokens do not use it. */
      readonly special: boolean;
    }
  | { readonly type: 'removed'; readonly hashes: readonly string[] }
  | { readonly type: 'cleared' };

/** Events of kinds that are not known are left out. @throws Error when it is no batch */
export function readKvEvents(payload: Uint8Array): KvEvent[] {
  const batch = unpack(payload);
  if (!Array.isArray(batch) || !Array.isArray(batch[1])) throw new Error('not a batch of KV events');
  return (batch[1] as readonly Packed[]).flatMap((event) => {
    const read = readEvent(event);
    return read ? [read] : [];
  });
}

/** Fields of events that come as lists, as SGLang and older vLLM send them, after the type. */
const listedFields: Readonly<Record<string, readonly string[]>> = {
  BlockStored: ['block_hashes', 'parent_block_hash', 'token_ids', 'block_size', 'lora_id'],
  BlockRemoved: ['block_hashes'],
  AllBlocksCleared: [],
};

function readEvent(said: Packed): KvEvent | undefined {
  const event = Array.isArray(said) ? named(said as readonly Packed[]) : said;
  if (!(event instanceof Map)) return undefined;
  switch (event.get('type')) {
    case 'BlockStored': {
      const hashes = hashesOf(event.get('block_hashes'));
      const tokenIds = numbersOf(event.get('token_ids'));
      const blockTokens = Number(event.get('block_size'));
      if (hashes.length === 0 || !(blockTokens > 0) || tokenIds.length !== hashes.length * blockTokens) return undefined;
      const parent = event.get('parent_block_hash');
      const extra = event.get('extra_keys');
      const special = isThere(event.get('lora_id')) || isThere(event.get('lora_name')) || (Array.isArray(extra) && extra.some(isThere));
      return { type: 'stored', hashes, parent: isThere(parent) ? hashOf(parent) : undefined, tokenIds, blockTokens, special };
    }
    case 'BlockRemoved':
      return { type: 'removed', hashes: hashesOf(event.get('block_hashes')) };
    case 'AllBlocksCleared':
      return { type: 'cleared' };
    default:
      return undefined;
  }
}

function named(event: readonly Packed[]): Map<string, Packed> | undefined {
  const fields = listedFields[String(event[0])];
  return fields && new Map<string, Packed>([['type', event[0]!], ...fields.map((name, index) => [name, event[index + 1] ?? null] as const)]);
}

function isThere(value: Packed | undefined): value is Exclude<Packed, null> {
  return value !== null && value !== undefined;
}

/** Hashes are bytes or numbers, as the engine is configured. */
function hashOf(value: Packed): string {
  return value instanceof Uint8Array ? Buffer.from(value).toString('base64') : String(value);
}

function hashesOf(value: Packed | undefined): string[] {
  return Array.isArray(value) ? value.map((hash) => hashOf(hash as Packed)) : [];
}

function numbersOf(value: Packed | undefined): number[] {
  return Array.isArray(value) ? value.map(Number) : [];
}
