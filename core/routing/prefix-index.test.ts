import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PrefixIndex } from './prefix-index.ts';
import { SessionIndex } from './session-index.ts';

/** As prefixHashes makes them: hash k stands for blocks 0 to k. */
function chained(...blocks: readonly number[]): number[] {
  let hash = 1;
  return blocks.map((block) => {
    hash = hash * 31 + block;
    return hash;
  });
}

describe('prefix index', () => {
  test('counts the leading hashes that an instance has', () => {
    const index = new PrefixIndex();
    index.add('a', [1, 2, 3]);
    index.add('b', [1, 9]);
    expect(index.match([1, 2, 4])).toEqual(
      new Map([
        ['a', 2],
        ['b', 1],
      ]),
    );
    expect(index.match([])).toEqual(new Map());
  });

  test('a hash in the middle tells of all blocks before it, which may be forgotten by themselves', () => {
    const index = new PrefixIndex({ maxEntries: 100, maxPerInstance: 100, maxHolders: 2 });
    const system = chained(7);
    index.add('a', chained(7, 1, 2));
    for (const instance of ['b', 'c', 'd']) index.add(instance, system);
    expect(index.match(system)).toEqual(
      new Map([
        ['c', 1],
        ['d', 1],
      ]),
    );
    expect(index.match(chained(7, 1, 2, 3)).get('a')).toBe(3);
  });

  test('of a block that all share, looking costs no more than its remembered holders', () => {
    const index = new PrefixIndex({ maxEntries: 100_000, maxPerInstance: 1_000, maxHolders: 8 });
    for (let instance = 0; instance < 2_000; instance++) index.add(`i${instance}`, chained(1, 2, 3));
    expect(index.entries).toBe(24);
    expect([...index.match(chained(1, 2, 3)).keys()]).toEqual(Array.from({ length: 8 }, (_, k) => `i${1_999 - k}`));
  });

  test('what an instance reports takes the place of what was remembered', () => {
    const index = new PrefixIndex();
    index.add('a', [1, 2, 3]);
    index.add('b', [1]);
    index.replace('a', [7, 1]);
    expect(index.match([1, 2, 3])).toEqual(
      new Map([
        ['b', 1],
        ['a', 1],
      ]),
    );
    expect(index.match([7]).get('a')).toBe(1);
    index.replace('a', []);
    expect([index.match([7]).size, index.entries]).toEqual([0, 1]);
  });

  test('forgets the least recently used, and the end of a chain before its start', () => {
    const index = new PrefixIndex({ maxEntries: 100, maxPerInstance: 3, maxHolders: 64 });
    index.add('a', [1, 2]);
    index.add('a', [5, 6]);
    expect(index.match([1, 2]).get('a')).toBe(1);
    expect(index.match([5, 6]).get('a')).toBe(2);
    index.add('a', [1]);
    index.add('a', [7]);
    expect(index.match([1]).get('a')).toBe(1);
    expect(index.match([5, 6]).get('a')).toBe(1);
  });

  test('instances that left or restarted are forgotten', () => {
    const index = new PrefixIndex();
    index.add('a', [1]);
    index.add('b', [1]);
    index.retain(new Set(['b']));
    expect(index.match([1])).toEqual(new Map([['b', 1]]));
    index.forget('b');
    expect(index.entries).toBe(0);
  });

  test('with more instances than entries the newest instance is not remembered', () => {
    const index = new PrefixIndex({ maxEntries: 4, maxPerInstance: 4, maxHolders: 64 });
    for (let instance = 0; instance < 6; instance++) index.add(`i${instance}`, chained(instance, 1));
    expect(index.entries).toBe(4);
    expect(index.match(chained(0, 1)).get('i0')).toBe(1);
    expect(index.match(chained(5, 1)).size).toBe(0);
  });

  test('never holds more than its limits, and never claims more than was sent', () => {
    const use = fc.record({
      instance: fc.constantFrom('a', 'b', 'c', 'd'),
      hashes: fc.array(fc.nat({ max: 2 }), { maxLength: 5 }).map((blocks) => chained(...blocks)),
    });
    fc.assert(
      fc.property(fc.array(use, { maxLength: 80 }), (uses) => {
        const index = new PrefixIndex({ maxEntries: 16, maxPerInstance: 6, maxHolders: 3 });
        const sent = new Map<string, Set<number>>();
        for (const { instance, hashes } of uses) {
          index.add(instance, hashes);
          sent.set(instance, new Set([...(sent.get(instance) ?? []), ...hashes]));
          expect(index.entries).toBeLessThanOrEqual(16);
        }
        for (const { hashes } of uses) {
          for (const [instance, blocks] of index.match(hashes)) {
            for (const hash of hashes.slice(0, blocks)) expect(sent.get(instance)!.has(hash)).toBe(true);
          }
        }
      }),
    );
  });
});

describe('session index', () => {
  test('keeps the most recently used sessions and ignores requests without one', () => {
    const sessions = new SessionIndex(2);
    sessions.set('', 'a');
    sessions.set('s1', 'a');
    sessions.set('s2', 'b');
    sessions.set('s1', 'c');
    sessions.set('s3', 'a');
    expect([sessions.get(''), sessions.get('s1'), sessions.get('s2'), sessions.get('s3')]).toEqual([undefined, 'c', undefined, 'a']);
    expect(sessions.size).toBe(2);
  });
});
