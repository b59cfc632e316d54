// What protects a KV transfer from bytes that change on the way: TCP's own checksum misses one damaged packet in some
// tens of thousands. Where a piece belongs is covered too, or good bytes would be taken for another block's. Pieces have an
// authentication code in place of a CRC because that is faster (docs/decisions/0025).
import { createCipheriv, createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { KvCommit, KvPiece, KvTail } from '../../proto/gen/messages.ts';

/** Of one reservation: both ends know what was agreed for it. */
export function pieceKey(reservationId: string, transferToken: string): Uint8Array {
  return createHash('sha256').update(`kv ${reservationId} ${transferToken}`).digest().subarray(0, 16);
}

/** 16 bytes: AES-128 GMAC of the payload, with block, offset, size and version as the nonce. */
export function pieceTag(key: Uint8Array, { block, offset, blockBytes, version, payload }: Omit<KvPiece, 'tag'>): Uint8Array {
  const mac = createCipheriv('aes-128-gcm', key, words([block, offset, blockBytes, version]));
  mac.setAAD(payload);
  mac.final();
  return mac.getAuthTag();
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
