// Who may ask the operator API for what: open on loopback, with keys and their scopes beyond.
import { describe, expect, test } from 'vitest';
import { createKey, hashKey, type KeyScope } from '../../lib/auth/keys.ts';
import * as contracts from '../../lib/contracts.ts';
import { seededRng } from '../../lib/rng/seeded-rng.ts';
import { createMemoryWorld } from '../../lib/run/memory-ports.ts';
import { accessMode } from './access.ts';
import { consoleSchema } from './config.ts';
import { console as operatorConsole } from './service.ts';

const pool = { id: 'chat', models: ['llama-3.1-8b'], instances: 1, min: 1, max: 2, floor: 1, sim: { profile: 'llama-3.1-8b-h100' } };
const rootKey = `sk-sy-${'r'.repeat(40)}`;
const voteBody = { decision: 'approve', hash: 'a'.repeat(64) };

async function started(settings: object = { auth: 'keys' }) {
  const config = consoleSchema.parse({ fleet: { pools: [pool] }, rootKeySha256: hashKey(rootKey), ...settings });
  const world = createMemoryWorld();
  await operatorConsole.start(config, world.ports('console-1'));
  const others = world.ports('others-1').bus;
  const votes: string[] = [];
  others.serve(contracts.vote, [], ({ voter }) => {
    votes.push(voter);
    return {};
  });
  others.serve(contracts.undrainInstance, [], () => ({}));
  const secrets = seededRng(5);

  async function settled<T>(asked: Promise<T>): Promise<T> {
    for (let waits = 0; waits < 4; waits++) await world.clock.advance(config.askMs);
    return asked;
  }

  return {
    world,
    votes,
    key: (name: string, scopes: KeyScope[]) => settled(createKey({ ...world, rng: secrets }, { name, scopes })),
    async ask(method: string, path: string, headers: Record<string, string>, body?: object) {
      const url = `http://${config.host}:8090/operator/v1${path}`;
      const reply = await settled(world.http.fetch(url, { method, headers, ...(body && { body: JSON.stringify(body) }) }));
      // biome-ignore lint/suspicious/noExplicitAny: answers of every shape are looked into
      return { status: reply.status, body: (await reply.json()) as any };
    },
  };
}

const bearer = (secret: string) => ({ authorization: `Bearer ${secret}` });

test.each([
  ['127.0.0.1', 'open'],
  ['127.9.0.1', 'open'],
  ['::1', 'open'],
  ['localhost', 'open'],
  ['0.0.0.0', 'keys'],
  ['::', 'keys'],
  ['10.0.0.5', 'keys'],
  ['127.0.0.1.example.org', 'keys'],
])('by default an operator API on %s is %s', (host, mode) => {
  expect(accessMode({ auth: 'auto', host })).toBe(mode);
});

describe('with keys', () => {
  test('nobody gets anything without one', async () => {
    const { ask } = await started();
    for (const [method, path] of [
      ['GET', '/status'],
      ['GET', '/keys'],
      ['GET', '/scrape-targets'],
      ['POST', '/undrain'],
      ['POST', '/keys'],
      ['DELETE', '/keys/x'],
    ] as const) {
      expect(await ask(method, path, { 'x-switchyard-operator': 'ann' })).toMatchObject({
        status: 401,
        body: { error: { code: 'invalid_api_key' } },
      });
      expect((await ask(method, path, bearer('sk-sy-guessed'))).status).toBe(401);
    }
  });

  test.each([
    [['inference'], 403, 403, 403],
    [['read'], 200, 403, 403],
    [['operate'], 200, 200, 403],
    [['approve'], 200, 403, 200],
    [['operate', 'approve'], 200, 200, 200],
  ] as [KeyScope[], number, number, number][])('%j: read %i, operate %i, approve %i', async (scopes, read, operate, approve) => {
    const { ask, key } = await started();
    const { secret } = await key('ann', scopes);
    expect((await ask('GET', '/services', bearer(secret))).status).toBe(read);
    expect((await ask('POST', '/undrain', bearer(secret), { instance: 'chat-1' })).status).toBe(operate);
    expect((await ask('POST', '/approvals/approval-1/vote', bearer(secret), voteBody)).status).toBe(approve);
  });

  test('a vote is cast in the name of its key, and another name is refused', async () => {
    const { ask, key, votes } = await started();
    const { secret } = await key('ann', ['approve']);
    await ask('POST', '/approvals/approval-1/vote', bearer(secret), voteBody);
    expect(votes).toEqual(['ann']);
    const as = await ask('POST', '/approvals/approval-1/vote', { ...bearer(secret), 'x-switchyard-operator': 'bob' }, voteBody);
    expect(as).toMatchObject({ status: 400, body: { error: { code: 'invalid_request' } } });
    expect(votes).toEqual(['ann']);
  });

  test('a revoked key is refused at once', async () => {
    const { ask, key } = await started();
    const { secret, key: ann } = await key('ann', ['operate']);
    expect((await ask('GET', '/services', bearer(secret))).status).toBe(200);
    expect((await ask('DELETE', `/keys/${ann.id}`, bearer(rootKey))).body).toMatchObject({ revoked: true });
    expect((await ask('GET', '/services', bearer(secret))).status).toBe(401);
  });

  test('nobody makes a second person of themselves: only the root key makes keys that operate or approve', async () => {
    const { ask, key } = await started();
    const { secret, key: ann } = await key('ann', ['operate', 'approve']);
    for (const scopes of [['approve'], ['operate'], ['inference', 'operate']]) {
      expect((await ask('POST', '/keys', bearer(secret), { name: 'bob', scopes })).status).toBe(403);
    }
    expect((await ask('DELETE', `/keys/${ann.id}`, bearer(secret))).status).toBe(403);
    expect((await ask('POST', '/keys', bearer(secret), { name: 'a program', scopes: ['inference', 'read'] })).status).toBe(200);
    expect((await ask('POST', '/keys', bearer(rootKey), { name: 'bob', scopes: ['approve'] })).body).toMatchObject({
      name: 'bob',
      scopes: ['approve'],
    });
    for (const name of ['root-key', 'bob the builder']) {
      expect((await ask('POST', '/keys', bearer(rootKey), { name, scopes: ['approve'] })).status).toBe(400);
    }
  });
});

describe('open', () => {
  test('a key that is presented counts, and one that is unknown is refused', async () => {
    const { ask, key, votes } = await started({});
    const { secret } = await key('ann', ['approve']);
    await ask('POST', '/approvals/approval-1/vote', bearer(secret), voteBody);
    await ask('POST', '/approvals/approval-1/vote', { 'x-switchyard-operator': 'bob' }, voteBody);
    expect(votes).toEqual(['ann', 'bob']);
    expect((await ask('GET', '/services', bearer('sk-sy-guessed'))).status).toBe(401);
  });

  test.each([
    ['127.0.0.1:8090', 200],
    ['localhost:8090', 200],
    ['[::1]:8090', 200],
    ['console:8090', 200],
    ['evil.example.org:8090', 403],
    ['127.0.0.1.evil.example.org', 403],
    ['switchyard.example.org', 200],
  ])('asked as %s: %i', async (host, status) => {
    const { ask } = await started({ allowedHosts: ['switchyard.example.org'] });
    expect((await ask('GET', '/services', { host })).status).toBe(status);
  });
});
