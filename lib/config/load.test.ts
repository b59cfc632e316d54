import { expect, test } from 'vitest';
import { z } from 'zod';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { fleetSchema } from './fleet.ts';
import { deepFreeze, loadConfig, withoutSecrets } from './load.ts';
import { settingsOf } from './schema-walk.ts';
import { editDistance, suggest } from './suggest.ts';

const schema = z
  .strictObject({
    port: z.int().min(0).max(65_535).default(8080).describe('where it listens'),
    host: z.string().default('127.0.0.1'),
    picker: z.enum(['best', 'weighted']).default('best'),
    ratio: z.number().gt(0).lt(1).default(0.5),
    open: z.boolean().default(false),
    name: z.string().min(2).max(5).optional(),
    tag: z
      .string()
      .regex(/^[a-z]+$/, 'lower-case letters')
      .optional(),
    step: z.number().multipleOf(5).default(10),
    weights: z.strictObject({ queue: z.number().min(0).default(1), prefix: z.number().min(0).default(2) }).prefault({}),
    list: z
      .array(z.strictObject({ id: z.string(), size: z.int().default(1) }))
      .max(2)
      .default([]),
    limits: z.record(z.string(), z.number().max(9)).default({}),
    mode: z.union([z.literal('off'), z.strictObject({ every: z.int() })]).default('off'),
  })
  .refine((config) => config.port !== 13, { message: 'port 13 is unlucky', path: ['port'] })
  .refine((config) => !(config.open && config.host === '0.0.0.0'), { message: 'open needs a private host' });

const load = (text: string | undefined, environment: Record<string, string> = {}) =>
  loadConfig(schema, { service: 'gateway', file: { name: 'gateway.yaml', text }, environment });

function problems(text: string, environment: Record<string, string> = {}): string[] {
  try {
    load(text, environment);
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(SwitchyardError);
    expect((thrown as SwitchyardError).code).toBe('invalid_config');
    const [first, ...rest] = (thrown as Error).message.split('\n');
    expect(first).toBe('the configuration is not valid:');
    return rest.map((line) => line.trim());
  }
  return [];
}

test('a missing or empty file means the defaults', () => {
  for (const text of [undefined, '', '# nothing\n', '---\n']) {
    expect(load(text).config).toMatchObject({ port: 8080, weights: { queue: 1, prefix: 2 }, list: [] });
  }
});

test.each([
  ['prt: 1', ['gateway.yaml:1:1: unknown key "prt"; did you mean "port"?']],
  ['zzzzzz: 1', ['gateway.yaml:1:1: unknown key "zzzzzz"; known are host, limits, list, mode, name, open, picker, port, ratio, step, tag, weights']],
  ['host: a\nweights:\n  queue: 1\n  prefixx: 2', ['gateway.yaml:4:3: unknown key "prefixx" in "weights"; did you mean "prefix"?']],
  ['list:\n  - id: a\n  - id: b\n    sise: 3', ['gateway.yaml:4:5: unknown key "sise" in "list[1]"; did you mean "size"?']],
  ['port: eighty', ['gateway.yaml:1:7: "port" must be a number, not "eighty"']],
  ['port: 80.5', ['gateway.yaml:1:7: "port" must be a whole number, not 80.5']],
  ['port: 70000', ['gateway.yaml:1:7: "port" must be at most 65535, not 70000']],
  ['port: -1', ['gateway.yaml:1:7: "port" must be at least 0, not -1']],
  ['port:', ['gateway.yaml:1:6: "port" must be a number, not empty']],
  ['port: 13', ['gateway.yaml:1:7: "port": port 13 is unlucky']],
  ['ratio: 1', ['gateway.yaml:1:8: "ratio" must be less than 1, not 1']],
  ['ratio: 0', ['gateway.yaml:1:8: "ratio" must be more than 0, not 0']],
  ['open: yes please', ['gateway.yaml:1:7: "open" must be true or false, not "yes please"']],
  ['picker: bst', ['gateway.yaml:1:9: "picker" must be one of best, weighted, not "bst"; did you mean "best"?']],
  ['name: a', ['gateway.yaml:1:7: "name" must be at least 2 characters long, not 1']],
  ['name: abcdefgh', ['gateway.yaml:1:7: "name" must be at most 5 characters long, not 8']],
  ['tag: A1', ['gateway.yaml:1:6: "tag" must be lower-case letters, not "A1"']],
  ['step: 7', ['gateway.yaml:1:7: "step" must be a multiple of 5, not 7']],
  ['list: [{}]', ['gateway.yaml:1:8: "list[0].id" is required']],
  ['list: nothing', ['gateway.yaml:1:7: "list" must be a list, not "nothing"']],
  ['list: [{id: a}, {id: b}, {id: c}]', ['gateway.yaml:1:7: "list" must be at most 2 entries long, not 3']],
  ['weights: 3', ['gateway.yaml:1:10: "weights" must be a group of settings, not 3']],
  ['limits:\n  a: 1\n  b: 12', ['gateway.yaml:3:6: "limits.b" must be at most 9, not 12']],
  ['mode:\n  every: often', ['gateway.yaml:2:10: "mode.every" must be a number, not "often"']],
  ['open: true\nhost: 0.0.0.0', ['gateway.yaml:1:1: open needs a private host']],
  ['port: 1\nport: 2', ['gateway.yaml:2:1: Map keys must be unique']],
  ['- a\n- b', ['gateway.yaml:1:1: the file must hold "key: value" lines']],
])('%j is refused with its place', (text, expected) => {
  expect(problems(text)).toEqual(expected);
});

test('text that is not YAML is refused with its place', () => {
  const [first] = problems('port: [1,\nhost: x');
  expect(first).toMatch(/^gateway\.yaml:2:\d+: /);
});

test('everything that is wrong is said at once', () => {
  expect(problems('port: 70000\nhots: a\npicker: worst\nweights: {queue: -1, other: 2}')).toEqual([
    'gateway.yaml:1:7: "port" must be at most 65535, not 70000',
    'gateway.yaml:3:9: "picker" must be one of best, weighted, not "worst"',
    'gateway.yaml:4:18: "weights.queue" must be at least 0, not -1',
    'gateway.yaml:4:22: unknown key "other" in "weights"; known are prefix, queue',
    'gateway.yaml:2:1: unknown key "hots"; did you mean "host"?',
  ]);
});

test('the environment wins over the file, the longer name over the shorter', () => {
  const environment = {
    SWITCHYARD_GATEWAY_PORT: '9000',
    SWITCHYARD_GATEWAY_OPEN: 'true',
    SWITCHYARD_GATEWAY_NAME: '',
    SWITCHYARD_HOST: '10.0.0.1',
    SWITCHYARD_ROUTER_PORT: '1',
  };
  expect(load('port: 1\nname: abc', environment).config).toMatchObject({ port: 9000, open: true, name: 'abc', host: '10.0.0.1' });
  expect(load('', { ...environment, SWITCHYARD_GATEWAY_HOST: '10.0.0.2' }).config.host).toBe('10.0.0.2');
});

test('a wrong value from the environment names the variable, unknown variables are a warning', () => {
  expect(problems('', { SWITCHYARD_GATEWAY_PORT: 'x' })).toEqual(['SWITCHYARD_GATEWAY_PORT: "port" must be a number, not "x"']);
  expect(load('', { SWITCHYARD_GATEWAY_PRT: '1', SWITCHYARD_GATEWAY_SOMETHING_ELSE: '1' }).warnings).toEqual([
    'SWITCHYARD_GATEWAY_PRT is not a setting of gateway; did you mean SWITCHYARD_GATEWAY_PORT?',
    'SWITCHYARD_GATEWAY_SOMETHING_ELSE is not a setting of gateway',
  ]);
});

test('the result is frozen all the way down', () => {
  const { config } = load('list: [{id: a}]');
  expect(() => {
    (config as { port: number }).port = 1;
  }).toThrow();
  expect(() => {
    (config.list[0] as { id: string }).id = 'b';
  }).toThrow();
  expect(Object.isFrozen(deepFreeze({ a: { b: [1] } }).a.b)).toBe(true);
});

test('secrets do not reach the log', () => {
  expect(withoutSecrets({ adminToken: 'abc', apiKey: 'k', nested: [{ password: 'p', port: 1 }], empty: { token: '' } })).toEqual({
    adminToken: '(hidden)',
    apiKey: '(hidden)',
    nested: [{ password: '(hidden)', port: 1 }],
    empty: { token: '' },
  });
});

const withFleet = z.strictObject({ port: z.int().default(1), fleet: fleetSchema });
const fleetText = 'pools:\n  - id: chat\n    models: [m]\n    instances: 1\n    sim: { profile: p }\n';
const loadFleet = (text: string | undefined, own = '') =>
  loadConfig(withFleet, { service: 'console', file: { name: 'console.yaml', text: own }, fleet: { name: 'fleet.yaml', text } });

test('the fleet comes from its own file, and problems are placed there', () => {
  expect(loadFleet(fleetText).config.fleet.pools[0]).toMatchObject({ id: 'chat', max: 8, sim: { blocks: 2048 } });
  expect(() => loadFleet(fleetText.replace('profile', 'profil'))).toThrow(
    /^ {2}fleet\.yaml:5:10: "pools\[0\]\.sim\.profile" is required\n {2}fleet\.yaml:5:12: unknown key "profil" in "pools\[0\]\.sim"; did you mean "profile"\?$/m,
  );
  expect(() => loadFleet(`${fleetText}    min: 9\n`)).toThrow('fleet.yaml:6:10: "pools[0].min": min must not exceed max');
  expect(() => loadFleet(undefined)).toThrow('fleet.yaml: the file is missing; it lists the pools and their instances');
  expect(() => loadFleet(fleetText, 'fleet: {}')).toThrow('console.yaml:1:1: "fleet" does not belong here; the fleet is read from fleet.yaml');
});

test('aliases that lead nowhere, or to more and more of themselves, are problems of the file', () => {
  const bomb = Array.from({ length: 6 }, (_, n) => `k${n}: &a${n} [${Array.from({ length: 9 }, () => (n === 0 ? 'x' : `*a${n - 1}`)).join(', ')}]`);
  for (const text of ['port: *nowhere', bomb.join('\n')]) {
    const load = () => loadConfig(schema, { service: 'gateway', file: { name: 'gateway.yaml', text } });
    expect(load).toThrow(SwitchyardError);
    expect(load).toThrow(/gateway\.yaml:1:1: .*alias/);
  }
});

test('tags and directives that nobody knows are problems of the file', () => {
  for (const text of ['port: !port 80', '%NOTHING\n---\nport: 80']) {
    expect(() => loadConfig(schema, { service: 'gateway', file: { name: 'gateway.yaml', text } })).toThrow(/gateway\.yaml:\d+:\d+: Un/);
  }
});

test('settings can be listed with defaults and ranges', () => {
  const rows = Object.fromEntries(settingsOf(schema).map((row) => [row.key, row]));
  expect(rows.port).toEqual({ key: 'port', range: 'whole number, 0 to 65535', default: '8080', about: 'where it listens' });
  expect(rows['weights.prefix']).toMatchObject({ range: 'number, 0 or more', default: '2' });
  expect(rows['list[].id']).toMatchObject({ range: 'text', default: undefined });
  expect(rows.picker?.range).toBe('best, weighted');
  expect(rows.name?.default).toBe('none');
});

test('suggestions are near words only', () => {
  expect(editDistance('queue', 'qeueu')).toBe(2);
  expect(editDistance('', 'abc')).toBe(3);
  expect(suggest('wieghts', ['weights', 'heights'])).toBe('weights');
  expect(suggest('port', ['zebra'])).toBeUndefined();
});
