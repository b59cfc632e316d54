import { describe, expect, test } from 'vitest';
import { fleetSchema } from '../../lib/config/fleet.ts';
import { roleOf } from '../../lib/config/instance-role.ts';
import { withServers } from './join-fleet.ts';

const sim = { profile: 'llama-3.1-8b-h100' };
const chat = { id: 'chat', models: ['llama'], instances: 2, sim };
const one = fleetSchema.parse({ pools: [chat] });
const two = fleetSchema.parse({ pools: [chat, { id: 'code', models: ['coder'], instances: 1, sim }] });
const none = { pool: undefined, ids: [], settings: {} };

test('servers stand where the instances of their pool would, in this agent alone', () => {
  const { fleet, instances } = withServers(two, {
    pool: 'code',
    urls: ['http://a:8000', 'http://b:8000'],
    ids: [],
    settings: { model: 'org/coder' },
  });
  expect(instances).toEqual(['code/code-ext-1', 'code/code-ext-2']);
  expect(fleet.pools[0]).toEqual(two.pools[0]);
  expect(fleet.pools[1]).toMatchObject({ id: 'code', models: ['coder'], engine: 'openai', openai: { model: 'org/coder', kind: 'auto' } });
  expect(fleet.pools[1]!.sim).toBeUndefined();
});

test('the only pool needs no name, and instances may have names', () => {
  expect(withServers(one, { ...none, urls: ['http://a:8000'], ids: ['gpu-7'] }).instances).toEqual(['chat/gpu-7']);
});

describe('is told what to do who', () => {
  test.each([
    ['names no pool of several', two, {}, '--pool takes one of chat, code'],
    ['names a pool that is not there', one, { pool: 'x' }, 'there is no pool x: take one of chat'],
    ['gives names for some', one, { ids: ['a', 'b'] }, 'once for each --url'],
    ['gives an address that is none', one, { urls: ['localhost:8000'] }, 'servers.0.url'],
    ['gives a name that is none', one, { ids: ['A b'] }, 'lower-case'],
  ])('%s', (_what, fleet, more, text) => {
    expect(() => withServers(fleet, { ...none, urls: ['http://a:8000'], ...more })).toThrow(text);
  });
});

test('their role is that of their pool, decode where others of it prefill, or what is said', () => {
  const apart = fleetSchema.parse({ pools: [{ ...chat, prefillInstances: 1 }] });
  const roleIn = (fleet: typeof one, role?: 'prefill') => {
    const joined = withServers(fleet, { ...none, urls: ['http://a:8000', 'http://b:8000'], role }).fleet.pools[0]!;
    return ['chat-ext-1', 'chat-ext-2'].map((id) => roleOf(joined, id));
  };
  expect(roleIn(one)).toEqual(['mixed', 'mixed']);
  expect(roleIn(apart)).toEqual(['decode', 'decode']);
  expect(roleIn(apart, 'prefill')).toEqual(['prefill', 'prefill']);
});
