import { describe, expect, test } from 'vitest';
import { BlockPool } from './block-pool.ts';
import { type Piece, type Reservation, Reservations } from './reservations.ts';

function target(blocks = 8, limit = 2) {
  const pool = new BlockPool({ blocks, blockTokens: 4, kvBytesPerToken: 8 });
  return { pool, reservations: new Reservations(pool, limit) };
}

const wish = { requestId: 'r', epoch: 2, purpose: 'migration', transferToken: 't', ttlMs: 100, nowMs: 0 } as const;
const piece = (block: number, version: number, from = 0, to = 32, fill = 1): Piece => {
  return { block, offset: from, blockBytes: 32, version, payload: new Uint8Array(to - from).fill(fill) };
};
const held = (answer: ReturnType<Reservations['reserve']>): Reservation => {
  if ('code' in answer) throw new Error(answer.code);
  return answer;
};

describe('reservations', () => {
  test('hold blocks once per id, and a repeat renews', () => {
    const { pool, reservations } = target();
    const first = held(reservations.reserve({ ...wish, id: 'm', blocks: 3 }));
    expect(reservations.reserve({ ...wish, id: 'm', blocks: 3, nowMs: 50 })).toBe(first);
    expect([pool.free, first.expiresAtMs]).toEqual([5, 150]);
  });

  test('refuse what does not fit', () => {
    const { reservations } = target();
    expect(reservations.reserve({ ...wish, id: 'a', blocks: 9 })).toMatchObject({ code: 'target_full' });
    reservations.reserve({ ...wish, id: 'a', blocks: 1 });
    reservations.reserve({ ...wish, id: 'b', blocks: 1 });
    expect(reservations.reserve({ ...wish, id: 'c', blocks: 1 })).toMatchObject({ code: 'target_full', retryable: true });
  });

  test('expire by themselves, not before their time', () => {
    const { pool, reservations } = target();
    held(reservations.reserve({ ...wish, id: 'm', blocks: 3 }));
    expect(reservations.expire(99.9)).toEqual({ expired: [], nextAtMs: 100 });
    expect(reservations.expire(100).expired.map(({ id }) => id)).toEqual(['m']);
    expect([pool.free, reservations.size]).toEqual([8, 0]);
    reservations.drop('m');
    pool.audit([]);
  });

  test('a block is whole when every byte has come, in any order and as often as it likes', () => {
    const { reservations } = target();
    const one = held(reservations.reserve({ ...wish, id: 'm', blocks: 2 }));
    for (const [from, to] of [
      [20, 32],
      [0, 8],
      [20, 32],
      [4, 12],
    ] as const)
      reservations.write(one, piece(0, 4, from, to));
    expect([reservations.whole(one), reservations.missing(one, [4])]).toEqual([[], [0]]);
    reservations.write(one, piece(0, 4, 12, 20));
    expect([reservations.whole(one), reservations.missing(one, [4])]).toEqual([[{ block: 0, version: 4 }], []]);
  });

  test('a fuller version replaces an earlier one, never the other way round', () => {
    const { pool, reservations } = target();
    const one = held(reservations.reserve({ ...wish, id: 'm', blocks: 1 }));
    reservations.write(one, piece(0, 2, 0, 32, 2));
    expect(reservations.missing(one, [3])).toEqual([0]);
    reservations.write(one, piece(0, 3, 0, 16, 3));
    expect(reservations.missing(one, [2])).toEqual([0]);
    reservations.write(one, piece(0, 3, 16, 32, 3));
    reservations.write(one, piece(0, 2, 0, 32, 9));
    expect(reservations.missing(one, [3])).toEqual([]);
    expect(pool.bytes(one.blocks[0]!).every((byte) => byte === 3)).toBe(true);
  });

  test('grow with the sequence while there is room', () => {
    const { pool, reservations } = target(3);
    const one = held(reservations.reserve({ ...wish, id: 'm', blocks: 1 }));
    expect(reservations.write(one, piece(2, 4))).toBeUndefined();
    expect([one.blocks.length, pool.free]).toEqual([3, 0]);
    const full = target(3);
    const two = held(full.reservations.reserve({ ...wish, id: 'm', blocks: 1 }));
    full.pool.take();
    full.pool.take();
    expect(full.reservations.write(two, piece(1, 4))).toMatchObject({ code: 'target_full' });
  });

  test.each([
    ['another block size', { ...piece(0, 4), blockBytes: 64 }, 'invalid_request'],
    ['bytes beyond the block', { ...piece(0, 4), offset: 8 }, 'invalid_request'],
    ['more tokens than a block has', piece(0, 5), 'invalid_request'],
    ['a block beyond the pool', piece(8, 4), 'target_full'],
  ])('refuse a piece with %s', (_name, wrong, code) => {
    const { reservations } = target();
    const one = held(reservations.reserve({ ...wish, id: 'm', blocks: 1 }));
    expect(reservations.write(one, wrong)).toMatchObject({ code });
  });

  test('a take-over keeps the blocks that hold something and frees the rest', () => {
    const { pool, reservations } = target();
    const one = held(reservations.reserve({ ...wish, id: 'm', blocks: 5 }));
    one.computed = 9;
    const blocks = reservations.takeOver(one);
    expect([blocks.length, pool.free, reservations.size]).toEqual([3, 5, 0]);
    pool.audit([blocks]);
  });
});
