import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { credentialsSchema } from '../../lib/run/credentials.ts';
import { prepareCredentials, rootKeyToShow } from './credentials.ts';
import { temporal } from './servers.ts';
import { type PortName, parseSettings } from './settings.ts';
import { jaeger, zipkin } from './tracing-ui.ts';

let parent: string;
let folder: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'switchyard-credentials-'));
  folder = join(parent, 'credentials');
});
afterEach(() => rmSync(parent, { recursive: true, force: true }));

const both = { nats: true, redis: true, readOnlyKeys: true };

test('are made once, for their owner alone, and only what a process needs is told to it', () => {
  const first = prepareCredentials(folder, both);
  const again = prepareCredentials(folder, both);
  expect(again.credentials('gateway')).toEqual(first.credentials('gateway'));
  expect(JSON.parse(readFileSync(first.credentialsPath('gateway'), 'utf8'))).toEqual(first.credentials('gateway'));
  expect(statSync(first.credentialsPath('gateway')).mode & 0o777).toBe(0o600);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  expect(first.credentials('gateway').fleetSecret).toBe(first.credentials('agent').fleetSecret);
  expect(first.credentials('router')).not.toHaveProperty('fleetSecret');
  expect(first.credentials('router').nats).not.toEqual(first.credentials('worker').nats);
});

describe('an agent with a user of its own', () => {
  const seat = (pool: string, id: string) => ({ instances: [{ pool, id }], launches: undefined });

  test('knows the secrets of its instance, not those of others and not that of the fleet', () => {
    const prepared = prepareCredentials(folder, { ...both, seats: [seat('chat', 'chat-1')] });
    const [first, second] = [prepared.seat(seat('chat', 'chat-1')), prepared.seat(seat('chat', 'chat-2'))];
    expect([first.isNew, second.isNew]).toEqual([false, true]);
    const [one, two] = [first, second].map(({ path }) => credentialsSchema.parse(JSON.parse(readFileSync(path, 'utf8'))));
    expect(statSync(first.path).mode & 0o777).toBe(0o600);
    expect(one).toMatchObject({ nats: { user: 'agent-chat-1' }, redis: { user: 'lone-agent' } });
    expect(one!.nats!.nkeySeed).not.toBe(two!.nats!.nkeySeed);
    expect(Object.keys(one!.agentSecrets!.link)).toEqual(['chat-1']);
    expect(one!.agentSecrets!.kv).toBe(two!.agentSecrets!.kv);
    expect(JSON.stringify(one)).not.toContain(prepared.credentials('gateway').fleetSecret);
    const told = readFileSync(prepared.natsConfigPath, 'utf8');
    expect(told).toContain('# agent-chat-2\n');
    expect(told).not.toContain(two!.nats!.nkeySeed);
  });

  test('keeps them at the next start', () => {
    const { path } = prepareCredentials(folder, { ...both, seats: [seat('chat', 'chat-1')] }).seat(seat('chat', 'chat-1'));
    const before = readFileSync(path, 'utf8');
    prepareCredentials(folder, both).seat(seat('chat', 'chat-1'));
    expect(readFileSync(path, 'utf8')).toBe(before);
  });

  test('that starts others may speak for these too, and has the leases', () => {
    const prepared = prepareCredentials(folder, both);
    const { path } = prepared.seat({ instances: [{ pool: 'chat', id: 'chat-1' }], launches: [{ pool: 'chat', id: 'chat-4' }] });
    const made = credentialsSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
    expect(made).toMatchObject({ redis: { user: 'agent' }, settings: { SWITCHYARD_AGENT_LAUNCHES: 'chat-4' } });
    expect(Object.keys(made.agentSecrets!.link)).toEqual(['chat-1', 'chat-4']);
  });
});

test('servers are told public keys and hashes', () => {
  const prepared = prepareCredentials(folder, both);
  const told = readFileSync(prepared.natsConfigPath, 'utf8') + readFileSync(prepared.redisAclPath, 'utf8');
  const { nats, redis } = prepared.credentials('worker');
  expect(told).not.toContain(nats!.nkeySeed);
  expect(told).not.toContain(redis!.password);
});

test("for somebody else's servers nothing is told", () => {
  expect(prepareCredentials(folder, { ...both, nats: false, redis: false }).credentials('router')).toEqual({});
});

test.each([
  ['127.0.0.1', {}, undefined],
  ['0.0.0.0', {}, 'state/credentials/root.key'],
  ['0.0.0.0', { SWITCHYARD_CONSOLE_AUTH: 'open' }, undefined],
  ['127.0.0.1', { SWITCHYARD_CONSOLE_AUTH: 'keys' }, 'state/credentials/root.key'],
])('on %s with %j the root key shown is %s', (host, env, shown) => {
  expect(rootKeyToShow({ root: '/x', stateFolder: '/x/state', host, env })).toBe(shown);
});

test.each(['127.0.0.1', '0.0.0.0', '10.0.0.5'])('started for %s: what asks nobody who they are stays on loopback', (host) => {
  const settings = parseSettings('/x', ['--host', host, '--state', folder], {});
  const ports = Object.fromEntries(Object.entries(settings.ports).map(([name, { port }]) => [name, port])) as Record<PortName, number>;
  const { args } = { args: temporal.args(settings, ports, prepareCredentials(folder, both)) };
  expect([args[args.indexOf('--ip') + 1], args[args.indexOf('--ui-ip') + 1], temporal.bindHost(host)]).toEqual(Array(3).fill('127.0.0.1'));
  expect(jaeger(settings, 'jaeger')).toMatchObject({ env: { JAEGER_LISTEN_HOST: '127.0.0.1' }, url: expect.stringContaining('//127.0.0.1:') });
  expect(zipkin(settings, 'zipkin.jar').args).toContain('--armeria.ports[0].ip=127.0.0.1');
});

test('a composition gives this machine alone what it publishes', () => {
  const compose = parse(readFileSync(join(import.meta.dirname, '../../docker-compose.yml'), 'utf8'), { merge: true, maxAliasCount: -1 }) as {
    services: Record<string, { ports?: string[]; environment?: Record<string, string> }>;
  };
  const published = Object.entries(compose.services).flatMap(([name, { ports = [] }]) => ports.map((port) => `${name} ${port}`));
  expect(published.length).toBeGreaterThan(4);
  expect(published.filter((each) => !/ 127\.0\.0\.1:/.test(each))).toEqual([]);
});

test('every agent of a composition has credentials of its own', () => {
  const compose = parse(readFileSync(join(import.meta.dirname, '../../docker-compose.yml'), 'utf8'), { merge: true, maxAliasCount: -1 }) as {
    services: Record<string, { volumes?: string[]; environment?: Record<string, string> }>;
  };
  const agents = Object.values(compose.services).filter(({ environment }) => environment?.SWITCHYARD_AGENT_INSTANCES);
  expect(agents.map(({ volumes }) => volumes?.filter((volume) => volume.startsWith('credentials')))).toEqual(
    agents.map(({ environment }) => [`credentials-agent-${environment!.SWITCHYARD_AGENT_INSTANCES!.split('/')[1]}:/run/credentials:ro`]),
  );
  const made = compose.services.credentials!.volumes!.filter((volume) => volume.startsWith('credentials-agent-'));
  expect(made.map((volume) => volume.split(':')[1])).toEqual(
    agents.map(({ environment }) => `/credentials/agent-${environment!.SWITCHYARD_AGENT_INSTANCES!.split('/')[1]}`),
  );
});
