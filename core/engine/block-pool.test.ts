import { describe, expect, test } from 'vitest';
import { BlockPool } from './block-pool.ts';

const pool = (blocks: number) => new BlockPool({ blocks, blockTokens: 4, kvBytesPerToken: 8 });

describe('block pool', () => {
  test('gives each block once and then none', () => {
    const p = pool(3);
    const taken = [p.take(), p.take(), p.take()];
    expect(new Set(taken).size).toBe(3);
    expect(p.take()).toBeUndefined();
    expect(p.free).toBe(0);
  });

  test('a shared block is free only when its last holder drops it', () => {
    const p = pool(1);
    const block = p.take()!;
    p.hold(block);
    p.drop(block);
    expect(p.free).toBe(0);
    p.drop(block);
    expect(p.free).toBe(1);
    expect(() => p.drop(block)).toThrow('without a holder');
  });

  test('a published block is found after it was dropped, until the room is needed', () => {
    const p = pool(2);
    const a = p.take()!;
    p.publish(a, 11);
    p.drop(a);
    expect([p.free, p.cached, p.find(11)]).toEqual([2, 1, a]);
    p.take();
    expect(p.find(11)).toBe(a);
    expect(p.take()).toBe(a);
    expect([p.find(11), p.cached]).toEqual([undefined, 0]);
  });

  test('evicts the least recently used prefix first, and the end of a sequence before its beginning', () => {
    const p = pool(3);
    const blocks = [p.take()!, p.take()!, p.take()!];
    blocks.forEach((block, i) => {
      p.publish(block, i);
    });
    p.dropAll(blocks);
    p.hold(blocks[2]!);
    p.drop(blocks[2]!);
    expect([p.take(), p.take(), p.take()]).toEqual([blocks[1], blocks[0], blocks[2]]);
  });

  test('a prefix that is known stays with its block', () => {
    const p = pool(2);
    const [a, b] = [p.take()!, p.take()!];
    p.publish(a, 5);
    p.publish(b, 5);
    expect([p.find(5), p.isPublished(b)]).toEqual([a, false]);
  });

  test('blocks are windows into one memory', () => {
    const p = pool(2);
    p.bytes(1).fill(7);
    expect(p.memory[p.slotAt(1, 0)]).toBe(0x07070707);
    expect(p.memory[p.slotAt(0, 3)]).toBe(0);
    expect(p.bytes(0)).toHaveLength(32);
  });

  test('the audit sees a block that its owners have forgotten, and one that has an owner too many', () => {
    const p = pool(2);
    const block = p.take()!;
    expect(() => p.audit([])).toThrow('counts 1 holders and has 0');
    expect(() => p.audit([[block], [block]])).toThrow('counts 1 holders and has 2');
    p.audit([[block]]);
  });

  test('refuses sizes that cannot be', () => {
    expect(() => new BlockPool({ blocks: 1, blockTokens: 1, kvBytesPerToken: 10 })).toThrow(RangeError);
    expect(() => new BlockPool({ blocks: 1_000_000, blockTokens: 1024, kvBytesPerToken: 1024 })).toThrow('8 GiB');
  });
});
