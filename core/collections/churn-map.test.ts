import { Worker } from 'node:worker_threads';
import { describe, expect, test } from 'vitest';
import { ChurnMap } from './churn-map.ts';

describe('a map of what comes and goes', () => {
  test('is a Map: by order of insertion, a value set anew keeps its place', () => {
    const [ours, theirs] = [new ChurnMap<string, number>(), new Map<string, number>()];
    for (const map of [ours, theirs]) {
      for (const [index, key] of ['a', 'b', 'c', 'a', 'd'].entries()) map.set(key, index);
      expect([map.delete('b'), map.delete('b'), map.has('b'), map.get('b')]).toEqual([true, false, false, undefined]);
      map.set('b', 9);
    }
    expect([...ours]).toEqual([...theirs]);
    expect([ours.size, [...ours.keys()], [...ours.values()]]).toEqual([theirs.size, [...theirs.keys()], [...theirs.values()]]);
    ours.clear();
    expect([ours.size, [...ours], ours.get('a')]).toEqual([0, [], undefined]);
  });

  test('may be changed while it is iterated over', () => {
    const map = new ChurnMap<number, string>().set(1, 'one').set(2, 'two').set(3, 'three');
    const seen: string[] = [];
    for (const value of map.values()) {
      seen.push(value);
      map.delete(2);
      if (map.size < 4) map.set(map.size + 10, 'more');
    }
    expect(seen).toEqual(['one', 'three', 'more', 'more']);
  });

  test('an undefined value is one', () => {
    const map = new ChurnMap<string, undefined>().set('a', undefined);
    expect([map.has('a'), map.size, map.delete('a'), map.has('a')]).toEqual([true, 1, true, false]);
  });

  // In isolates of their own, with the heap to themselves. Should Map be as good one day, this file has no use any more.
  test('what was deleted does not grow old, as it does in a Map', async () => {
    const [plain, ours] = [await oldestMegabytes('Map'), await oldestMegabytes('ChurnMap')];
    expect(ours).toBeLessThan(plain / 2);
  });
});

/** The most that lay in the old space while 256 entries of some 15 KB were there at a time, of 60,000. */
function oldestMegabytes(kind: 'Map' | 'ChurnMap'): Promise<number> {
  const code = `
    const { parentPort } = require('node:worker_threads');
    const { getHeapSpaceStatistics } = require('node:v8');
    const graph = () => Array.from({ length: 100 }, (_, index) => ({ index, text: 'x' + index, pair: [index, index + 1] }));
    import(${JSON.stringify(new URL('./churn-map.ts', import.meta.url).href)}).then(async ({ ChurnMap }) => {
      const map = new ${kind}();
      let most = 0;
      for (let index = 0; index < 60_000; index++) {
        map.set('request-' + index, graph());
        map.delete('request-' + (index - 256));
        if (index % 1000 === 0) {
          most = Math.max(most, getHeapSpaceStatistics().find((space) => space.space_name === 'old_space').space_used_size);
          await new Promise(setImmediate);
        }
      }
      parentPort.postMessage(most / 1e6);
    });
  `;
  return new Promise((resolve, reject) => {
    const worker = new Worker(code, { eval: true });
    worker.once('message', resolve);
    worker.once('error', reject);
  });
}
