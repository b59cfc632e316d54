import { beforeEach, describe, expect, test } from 'vitest';
import { refusal } from '../../core/errors/switchyard-error.ts';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import { serverHeader } from '../../lib/operator/types.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import type { QueueStatus } from '../../proto/gen/messages.ts';
import { consoleSchema } from './config.ts';
import { console as operatorConsole } from './service.ts';

const pool = { id: 'chat', models: ['llama-3.1-8b'], instances: 1, min: 1, max: 2, floor: 1, sim: { profile: 'llama-3.1-8b-h100' } };
const config = consoleSchema.parse({ fleet: { pools: [pool] } });
let world: MemoryWorld<VirtualClock>;
let others: Bus;

interface Called {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  // biome-ignore lint/suspicious/noExplicitAny: answers of every shape are looked into
  readonly body: any;
}

async function call(method: string, path: string, body?: unknown, operator: string | undefined = 'ann'): Promise<Called> {
  const asked = world.http.fetch(`http://127.0.0.1:8090${path}`, {
    method,
    headers: operator ? { 'x-switchyard-operator': operator } : {},
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  await world.clock.advance(config.gatherMs);
  await world.clock.advance(config.askMs);
  const reply = await asked;
  return { status: reply.status, headers: reply.headers, body: await reply.json() };
}

beforeEach(async () => {
  world = createMemoryWorld();
  others = world.ports('others-1').bus;
  await operatorConsole.start(config, world.ports('console-1'));
});

describe('bad input is answered with what to do', () => {
  test.each([
    ['GET', '/operator/v1/nothing', undefined, 404, 'not_found'],
    ['POST', '/operator/v1/status', undefined, 405, 'method_not_allowed'],
    ['GET', '/operator/v1/explain/%ff', undefined, 400, 'invalid_request'],
    ['GET', '/operator/v1/audit?limit=-3', undefined, 400, 'invalid_request'],
    ['POST', '/operator/v1/migrate', '{', 400, 'invalid_json'],
    ['POST', '/operator/v1/migrate', { request: 'req-1', too: 'chat-2' }, 400, 'invalid_request'],
    ['POST', '/operator/v1/scale', { pool: 'nope', target: 1 }, 404, 'unknown_pool'],
    ['POST', '/operator/v1/mode', { pool: 'chat', mode: 'wild' }, 400, 'invalid_request'],
    ['POST', '/operator/v1/keys', { name: 'x', models: ['nope'] }, 404, 'model_not_found'],
    ['DELETE', '/operator/v1/keys/nope', undefined, 404, 'not_found'],
  ])('%s %s %j', async (method, path, body, status, code) => {
    const reply = await call(method, path, body);
    expect(reply).toMatchObject({ status, body: { error: { code, param: null } } });
    expect(reply.headers[serverHeader]).toBe('operator-api');
  });

  test('a change names its author', async () => {
    expect(await call('POST', '/operator/v1/undrain', { instance: 'chat-1' }, 'a b')).toMatchObject({
      status: 400,
      body: { error: { code: 'invalid_request' } },
    });
  });
});

test('the status answers while nobody else does', async () => {
  const { status, body } = await call('GET', '/operator/v1/status');
  expect(status).toBe(200);
  expect(body).toMatchObject({ services: [], pools: [], instances: { total: 0 }, workflowsConnected: true, storeConnected: true });
});

test('the refusal of the service that decides is handed on', async () => {
  others.serve(contracts.moveRequest, [], ({ requestId }) => ({
    refusal: refusal('unknown_request', `no running request ${requestId}`),
    workflowId: '',
  }));
  expect(await call('POST', '/operator/v1/migrate', { request: 'req-1' })).toMatchObject({
    status: 404,
    body: { error: { code: 'unknown_request', message: 'no running request req-1' } },
  });
});

test('keys: created with the secret once, listed without it, revoked, and all of it in the audit log', async () => {
  const { body: created } = await call('POST', '/operator/v1/keys', { name: 'ann', models: ['llama-3.1-8b'], requestsPerMinute: 5 });
  expect(created).toMatchObject({ name: 'ann', revoked: false, requestsPerMinute: 5, secret: expect.stringMatching(/^sk-sy-/) });
  const { body: listed } = await call('GET', '/operator/v1/keys');
  expect(listed).toHaveLength(1);
  expect(JSON.stringify(listed)).not.toContain(created.secret);
  expect((await call('DELETE', `/operator/v1/keys/${created.id}`, undefined, 'bob')).body).toMatchObject({ revoked: true });
  const { body: audited } = await call('GET', '/operator/v1/audit');
  expect(audited).toMatchObject([
    { kind: 'key.created', actor: 'ann', target: created.id, detail: { name: 'ann', requestsPerMinute: 5 } },
    { kind: 'key.revoked', actor: 'bob', target: created.id },
  ]);
  expect(JSON.stringify(audited)).not.toContain(created.secret);
});

test('what waits is shown as the owners of the queues last told it', async () => {
  const told = (changes: Partial<QueueStatus>) =>
    others.publish(contracts.queueStatus, [changes.pool ?? 'chat'], {
      ...{ pool: 'chat', ownerId: 'admission-1', epoch: 5, version: 1, atMs: world.clock.now(), classes: [], blockTokens: 16, limit: 100 },
      ...{ saturation: 0.5, drainedPerSecond: 2 },
      ...changes,
    });
  const classes = [
    { sloClass: 'interactive' as const, requests: 2, continuations: 0, demandBlocks: 9, oldestArrivalMs: 0 },
    { sloClass: 'batch' as const, requests: 1, continuations: 0, demandBlocks: 4, oldestArrivalMs: 0 },
  ];
  told({ version: 2, classes });
  told({ version: 1 });
  told({ epoch: 4, version: 9 });
  told({ pool: 'unknown' });
  const { body } = await call('GET', '/operator/v1/status');
  expect(body.queues).toMatchObject([{ pool: 'chat', owner: 'admission-1', waiting: 3, limit: 100, saturation: 0.5 }]);
  expect(body.queues[0].ageMs).toBeGreaterThanOrEqual(0);
});

test('workflows are found by what they are about', async () => {
  await world.workflows.start('transferKv', 'copy-1', {
    ...{ transferId: 'copy-1', requestId: 'req-1', epoch: 1, sourceInstanceId: 'chat-1', targetInstanceId: 'chat-2' },
    ...{ blocks: 3, connections: 1, reservationTtlMs: 1_000, deadlineMs: 0, into: null },
  });
  await world.clock.advance(5);
  await world.workflows.start('drainInstance', 'drain-1', {
    ...{ drainId: 'drain-1', instanceId: 'chat-9', pool: 'chat', reason: 'operator', requestedBy: 'ann', withinMs: 1_000, approval: null },
  });
  const found = async (query: string) => {
    const { status, body } = await call('GET', `/operator/v1/workflows?${query}`);
    return status === 200 ? body.map((row: { id: string }) => row.id) : body.error.code;
  };
  expect(await found('')).toEqual(['drain-1', 'copy-1']);
  expect(await found('request=req-1')).toEqual(['copy-1']);
  expect(await found('instance=chat-9&running=true')).toEqual(['drain-1']);
  expect(await found('pool=chat&limit=1')).toEqual(['drain-1']);
  expect(await found('request=req-2')).toEqual([]);
  expect(await found('worker=x')).toBe('invalid_request');
  const { body } = await call('GET', '/operator/v1/workflows/copy-1?story=true');
  expect(body).toMatchObject({ id: 'copy-1', status: 'running', summary: 'Copy KV of req-1 from chat-1 to chat-2', story: expect.any(String) });
});

test('Temporal is asked for at the start, not with the first status', async () => {
  const ports = world.ports('console-2');
  let asked = 0;
  const workflows = { ...ports.workflows, connected: () => ++asked > 1 };
  await operatorConsole.start({ ...config, port: 8091 }, { ...ports, workflows });
  expect(asked).toBe(1);
});
