import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { prepareCredentials, rootKeyToShow } from './credentials.ts';
import { temporal } from './servers.ts';

let folder: string;
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'switchyard-credentials-')), 'credentials');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

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

test("Temporal's development server, which asks nobody who they are, stays on loopback", () => {
  expect(['127.0.0.1', '0.0.0.0', '10.0.0.5'].map(temporal.bindHost)).toEqual(['127.0.0.1', '127.0.0.1', '127.0.0.1']);
});
