// What protects a KV transfer from bytes that change on the way: TCP's own checksum misses one damaged packet in some
// tens of thousands. Where a piece belongs is covered too, or good bytes would be taken for another block's.
import { crc32 } from 'node:zlib';
import type { KvCommit, KvPiece, KvTail } from '../../proto/gen/messages.ts';

/** CRC-32 of block, offset, size and version, then the payload. */
export function pieceCrc(piece: Omit<KvPiece, 'crc'>): number {
  return crc32(piece.payload, crc32(words([piece.block, piece.offset, piece.blockBytes, piece.version])));
}

/** CRC-32 of stage, whether it is the last, and versions, then the state. */
export function commitCrc(commit: Omit<KvCommit, 'crc'>): number {
  return crc32(commit.state, crc32(words([commit.stage, Number(commit.last), ...commit.versions])));
}

/** CRC-32 of the first index and the tokens. */
export function tailCrc(tail: Omit<KvTail, 'crc'>): number {
  return crc32(words([tail.firstIndex, ...tail.tokenIds]));
}

function words(values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [index, value] of values.entries()) view.setUint32(index * 4, value, true);
  return bytes;
}
