import { describe, expect, test } from 'vitest';
import { fleetSchema } from './fleet.ts';
import { leastInstances, roleOf } from './instance-role.ts';

const sim = { profile: 'llama-3.1-8b-h100' };
const parse = (pool: Record<string, unknown>) => fleetSchema.safeParse({ pools: [{ id: 'chat', models: ['m'], instances: 3, ...pool }] });
const poolOf = (pool: Record<string, unknown>) => fleetSchema.parse({ pools: [{ id: 'chat', models: ['m'], instances: 3, ...pool }] }).pools[0]!;
const servers = (...roles: (string | undefined)[]) => ({
  engine: 'openai',
  openai: { servers: roles.map((role, index) => ({ url: `http://a:${8_000 + index}`, ...(role && { role }) })) },
});

describe('the role of an instance', () => {
  test.each<[string, Record<string, unknown>, string[]]>([
    ['is that of the pool', { sim }, ['mixed', 'mixed', 'mixed', 'mixed']],
    ['is that of the pool, whatever it is', { sim, role: 'decode' }, ['decode', 'decode', 'decode', 'decode']],
    ['is prefill for the first ones', { sim, prefillInstances: 2 }, ['prefill', 'prefill', 'decode', 'decode']],
    [
      'is prefill for the first servers',
      { ...servers(undefined, undefined, undefined), prefillInstances: 1 },
      ['prefill', 'decode', 'decode', 'decode'],
    ],
    ['is what a server states, and decode for those beside it', servers(undefined, 'prefill', 'decode'), ['decode', 'prefill', 'decode', 'decode']],
    ['is decode for all where servers state nothing else', servers('decode', undefined), ['decode', 'decode', 'decode', 'decode']],
  ])('%s', (_, pool, roles) => {
    expect(['chat-1', 'chat-2', 'chat-3', 'chat-17'].map((id) => roleOf(poolOf(pool), id))).toEqual(roles);
  });

  test('scaling keeps those that prefill and one that decodes', () => {
    expect(leastInstances(poolOf({ sim }))).toBe(0);
    expect(leastInstances(poolOf({ sim, prefillInstances: 2 }))).toBe(3);
  });
});

test.each<[string, Record<string, unknown>, string, RegExp]>([
  [
    'as many prefill instances as there are',
    { sim, prefillInstances: 3 },
    'prefillInstances',
    /must leave an instance that decodes: instances is 3, so at most 2/,
  ],
  [
    'as many as there may be',
    { sim, instances: 9, max: 4, prefillInstances: 4 },
    'prefillInstances',
    /must leave an instance that decodes: max is 4, so at most 3/,
  ],
  ['a role for all beside prefill instances', { sim, role: 'decode', prefillInstances: 1 }, 'role', /leave it out/],
  ['roles of servers beside a number', { ...servers('prefill', 'decode', undefined), prefillInstances: 1 }, 'prefillInstances', /leave it out/],
  ['roles of servers beside one for all', { ...servers('prefill', 'decode'), role: 'prefill' }, 'role', /leave it out/],
  ['servers that all prefill', servers('prefill', 'prefill'), 'openai.servers', /leave at least one server without role: prefill/],
])('%s are refused, and it is said what to do', (_, pool, at, message) => {
  const issues = parse(pool).error!.issues.map((issue) => [issue.path.slice(2).join('.'), issue.message] as const);
  expect(issues).toEqual([[at, expect.stringMatching(message)]]);
});
