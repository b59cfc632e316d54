import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PrefixIndex } from './prefix-index.ts';
import { SessionIndex } from './session-index.ts';

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
    expect(index.match([2, 3])).toEqual(new Map([['a', 2]]));
    expect(index.match([])).toEqual(new Map());
  });

  test('a hash in the middle without those before it is no hit', () => {
    const index = new PrefixIndex();
    index.add('a', [2]);
    expect(index.match([1, 2])).toEqual(new Map());
  });

  test('forgets the least recently used, and the end of a chain before its start', () => {
    const index = new PrefixIndex({ maxEntries: 100, maxPerInstance: 3 });
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

  test('never holds more than its limits, and never claims more than was sent', () => {
    const use = fc.record({ instance: fc.constantFrom('a', 'b', 'c', 'd'), hashes: fc.array(fc.nat({ max: 20 }), { maxLength: 8 }) });
    fc.assert(
      fc.property(fc.array(use, { maxLength: 80 }), (uses) => {
        const index = new PrefixIndex({ maxEntries: 16, maxPerInstance: 6 });
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
