import { describe, expect, test } from 'vitest';
import { type FleetConfig, fleetSchema } from '../../lib/config/fleet.ts';
import { fleetOfServers, threadsFor, withOwnModel, withoutMissing } from './engine-fleet.ts';

const sim = { id: 'chat', models: ['llama'], instances: 2, sim: { profile: 'llama-3.1-8b-h100' } };
const real = { id: 'smollm2', models: ['smollm2-135m-instruct'], engine: 'llama', instances: 2, min: 1, max: 3, llama: { maxRunning: 7 } };
const fleet = (...pools: unknown[]): FleetConfig => fleetSchema.parse({ pools });
const own = { file: '/models/mine.gguf', name: 'mine', threads: 3, gpuLayers: 0 };

describe('a model of the user', () => {
  test('takes the place of SmolLM2, with the settings of its pool', () => {
    const { pools } = withOwnModel(fleet(real, sim), own);
    expect(pools.map(({ id }) => id)).toEqual(['own', 'chat']);
    expect(pools[0]).toMatchObject({ models: ['mine'], engine: 'llama', max: 3, llama: { model: '/models/mine.gguf', threads: 3, maxRunning: 7 } });
  });

  test('is the first pool where there is no SmolLM2', () => {
    const { pools } = withOwnModel(fleet(sim), own);
    expect(pools.map(({ id, instances }) => `${id} ${instances}`)).toEqual(['own 2', 'chat 2']);
  });

  test('goes before another pool with its name', () => {
    expect(withOwnModel(fleet(sim), { ...own, name: 'llama' }).pools.map(({ id }) => id)).toEqual(['own']);
  });

  test('what comes out is a fleet', () => {
    expect(fleetSchema.parse(withOwnModel(fleet(real, sim), own))).toEqual(withOwnModel(fleet(real, sim), own));
  });
});

describe('servers of the user', () => {
  test('those with the same model are one pool, which is never scaled', () => {
    const servers = [
      { url: 'http://a:8000', models: ['qwen', 'qwen-lora'] },
      { url: 'http://b:8000', models: ['llama'] },
      { url: 'http://c:8000', models: ['qwen'] },
    ];
    const made = fleetOfServers(servers, undefined);
    expect(fleetSchema.parse(made)).toEqual(made);
    expect(made.pools.map(({ id, models, instances, min, max }) => ({ id, models, instances, min, max }))).toEqual([
      { id: 'engines', models: ['qwen'], instances: 2, min: 2, max: 2 },
      { id: 'engines-2', models: ['llama'], instances: 1, min: 1, max: 1 },
    ]);
    expect(made.pools[0]?.openai?.servers).toEqual([{ url: 'http://a:8000' }, { url: 'http://c:8000' }]);
  });

  test('a name that two pools list is that of the pool whose first it is, else of the first pool', () => {
    const servers = [
      { url: 'http://a:1', models: ['base', 'other', 'both'] },
      { url: 'http://b:1', models: ['other', 'both'] },
    ];
    const { pools } = fleetOfServers(servers, undefined);
    expect(pools.map(({ models }) => models)).toEqual([['base', 'both'], ['other']]);
  });

  test('a key is named, not written down', () => {
    expect(fleetOfServers([{ url: 'http://a:1', models: ['m'] }], 'KEY').pools[0]?.openai?.apiKeyEnv).toBe('KEY');
  });
});

test('a pool that cannot be had is left out, and a fleet of none is refused with every reason', () => {
  const both = fleet(real, sim);
  expect(withoutMissing(both, [{ pool: 'smollm2', reason: 'no network' }]).pools.map(({ id }) => id)).toEqual(['chat']);
  expect(() => withoutMissing(fleet(real), [{ pool: 'smollm2', reason: 'no network' }])).toThrow('smollm2: no network');
});

test.each([
  [1, 1],
  [2, 1],
  [4, 1],
  [8, 3],
  [32, 15],
])('with %i cores an instance has %i threads', (cores, threads) => {
  expect(threadsFor(cores)).toBe(threads);
});
