// A saved sequence on its way in, as equal pieces that arrive in any order, over several connections, perhaps twice. A newer
// save replaces an older one. What it means is judged when it is whole.
import { refusal } from '../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../proto/gen/messages.ts';

interface Arriving {
  /** Tokens in the save that the bytes are of. */
  version: number;
  bytes: Uint8Array;
  /** Byte ranges [from, to) that are here, sorted, apart. */
  ranges: (readonly [number, number])[];
}

export interface StatePiece {
  readonly block: number;
  readonly offset: number;
  readonly blockBytes: number;
  readonly version: number;
  readonly payload: Uint8Array;
}

export class IncomingState {
  readonly #maxBytes: number;
  readonly #blocks = new Map<number, Arriving>();

  /** `maxBytes`: of all blocks together; no sequence that fits here needs more. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Repeats and older versions are harmless. Refused: `kv_too_large`, `invalid_request`. */
  write({ block, offset, blockBytes, version, payload }: StatePiece): Refusal | undefined {
    if (offset + payload.length > blockBytes || blockBytes === 0 || version === 0)
      return refusal('invalid_request', `piece of block ${block} does not fit into it`);
    if ((block + 1) * blockBytes > this.#maxBytes) return refusal('kv_too_large', `block ${block} is beyond what a sequence needs here`);
    let arriving = this.#blocks.get(block);
    if (arriving && arriving.version > version) return undefined;
    if (!arriving || arriving.version < version || arriving.bytes.length !== blockBytes) {
      arriving = { version, bytes: new Uint8Array(blockBytes), ranges: [] };
      this.#blocks.set(block, arriving);
    }
    arriving.bytes.set(payload, offset);
    arriving.ranges = withRange(arriving.ranges, offset, offset + payload.length);
    return undefined;
  }

  /** Blocks that are here whole. */
  whole(): { block: number; version: number }[] {
    return [...this.#blocks]
      .filter(([, arriving]) => isWhole(arriving))
      .map(([block, { version }]) => ({ block, version }))
      .sort((a, b) => a.block - b.block);
  }

  /** Which of the first blocks are not here in exactly these versions: of two saves nothing fits together. */
  missing(versions: readonly number[]): number[] {
    return versions.flatMap((version, block) => {
      const arriving = this.#blocks.get(block);
      return arriving && arriving.version === version && isWhole(arriving) ? [] : [block];
    });
  }

  /** The first `count` blocks in a row. */
  bytes(count: number): Uint8Array {
    return Buffer.concat(Array.from({ length: count }, (_, block) => this.#blocks.get(block)!.bytes));
  }

  /** Frees the memory. */
  clear(): void {
    this.#blocks.clear();
  }
}

function isWhole({ ranges, bytes }: Arriving): boolean {
  return ranges.length === 1 && ranges[0]![0] === 0 && ranges[0]![1] === bytes.length;
}

function withRange(ranges: readonly (readonly [number, number])[], from: number, to: number): (readonly [number, number])[] {
  const apart = ranges.filter(([start, end]) => end < from || start > to);
  const touching = ranges.filter(([start, end]) => end >= from && start <= to);
  const merged = [Math.min(from, ...touching.map(([start]) => start)), Math.max(to, ...touching.map(([, end]) => end))] as const;
  return [...apart, merged].sort((a, b) => a[0] - b[0]);
}
