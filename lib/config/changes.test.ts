import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { configChange } from './changes.ts';

const pool = (id: string, max: number, speed = 1) => ({ id, max, sim: { speed, blocks: 8 } });
const before = { port: 80, limits: { queued: 5, tags: ['a'] }, fleet: { pools: [pool('chat', 4), pool('code', 2)] } };

describe('a changed configuration', () => {
  test('is taken whole when nothing is fixed, and says what changed', () => {
    const after = { port: 81, limits: { queued: 5, tags: ['a', 'b'] }, fleet: { pools: [pool('chat', 4), pool('code', 3)] } };
    expect(configChange(before, after, [])).toEqual({ config: after, taken: ['port', 'limits.tags', 'fleet.pools[code].max'], waiting: [] });
  });

  test('keeps the old value of what is fixed, and names it', () => {
    const after = { ...before, port: 81, limits: { ...before.limits, queued: 9 } };
    const change = configChange(before, after, ['port']);
    expect(change).toEqual({ config: { ...after, port: 80 }, taken: ['limits.queued'], waiting: ['port'] });
    expect(configChange(before, after, ['limits', 'port'])).toEqual({ config: before, taken: [], waiting: ['port', 'limits.queued'] });
  });

  test('a name does not stand for a longer one', () => {
    const change = configChange({ port: 1, portRange: 2 }, { port: 1, portRange: 3 }, ['port']);
    expect(change.taken).toEqual(['portRange']);
  });

  test.each([
    {
      fixed: ['fleet.pools'],
      taken: [],
      waiting: ['fleet.pools[]', 'fleet.pools[chat].max', 'fleet.pools[chat].sim.speed'],
      pools: before.fleet.pools,
    },
    {
      fixed: ['fleet.pools[]'],
      taken: ['fleet.pools[chat].max', 'fleet.pools[chat].sim.speed'],
      waiting: ['fleet.pools[]'],
      pools: [pool('chat', 5, 2), pool('code', 2)],
    },
    {
      fixed: ['fleet.pools[].sim'],
      taken: ['fleet.pools[]', 'fleet.pools[chat].max'],
      waiting: ['fleet.pools[chat].sim.speed'],
      pools: [pool('chat', 5, 1), pool('new', 1)],
    },
  ])('lists are compared by id when $fixed is fixed', ({ fixed, taken, waiting, pools }) => {
    const after = { ...before, fleet: { pools: [pool('chat', 5, 2), pool('new', 1)] } };
    expect(configChange(before, after, fixed)).toEqual({ config: { ...before, fleet: { pools } }, taken, waiting });
  });

  test('a setting that came or went is a change', () => {
    const change = configChange<{ a?: number; b?: number }>({ a: 1 }, { b: 2 }, ['b']);
    expect(change).toEqual({ config: {}, taken: ['a'], waiting: ['b'] });
  });

  test('the result is frozen', () => {
    expect(() => Object.assign(configChange(before, { ...before, port: 2 }, []).config.limits, { queued: 1 })).toThrow('read only');
  });

  test('with nothing fixed it is the new one; with everything fixed it is the old one', () => {
    const settings = fc.record({ a: fc.integer(), b: fc.record({ c: fc.string(), d: fc.array(fc.integer()) }) });
    fc.assert(
      fc.property(settings, settings, (old, now) => {
        expect(configChange(old, now, []).config).toEqual(now);
        expect(configChange(old, now, ['a', 'b']).config).toEqual(old);
        expect(configChange(old, old, [])).toEqual({ config: old, taken: [], waiting: [] });
      }),
    );
  });
});
