// Keys, classes of service, limits of the gateway itself, and the trace that a request leaves.
import { describe, expect, test } from 'vitest';
import { createKey, type NewKey, revokeKey } from '../../lib/auth/keys.ts';
import { keyRevoked } from '../../lib/contracts.ts';
import { seededRng } from '../../lib/rng/seeded-rng.ts';
import { ScriptedFleet } from './scripted-fleet.ts';

const bearer = (secret: string) => ({ headers: { authorization: `Bearer ${secret}` } });

async function withKey(wanted: Partial<NewKey> = {}, config: Record<string, unknown> = { auth: 'keys' }) {
  const fleet = await ScriptedFleet.start(config);
  const { store, clock } = fleet.world;
  const { secret, key } = await fleet.settled(createKey({ store, clock, rng: seededRng(7) }, { name: 'test', ...wanted }));
  return { fleet, secret, key };
}

async function status(fleet: ScriptedFleet, options: { headers?: Record<string, string> }, fields: object = {}): Promise<number | 'running'> {
  const before = fleet.asked.length;
  const client = fleet.chat(fields, options);
  await fleet.until(() => client.ended || fleet.asked.length > before);
  return client.ended ? client.status : 'running';
}

describe('keys', () => {
  test('a known key is let in, and admission learns its id, never the key', async () => {
    const { fleet, secret, key } = await withKey();
    expect(await status(fleet, bearer(secret))).toBe('running');
    expect(fleet.asked[0]!.keyId).toBe(key.id);
    expect(JSON.stringify(fleet.asked)).not.toContain(secret);
  });

  test.each([
    ['no key', {}],
    ['an unknown key', bearer('sk-sy-0000000000000000000000000000000000000000')],
    ['something else', bearer('hunter2')],
  ])('%s gets 401', async (_what, options) => {
    const { fleet } = await withKey();
    expect(await status(fleet, options)).toBe(401);
  });

  test('a revoked key is refused a second later', async () => {
    const { fleet, secret, key } = await withKey();
    expect(await status(fleet, bearer(secret))).toBe('running');
    expect(await revokeKey(fleet.world, key.id)).toBe(true);
    await fleet.world.clock.advance(1_000);
    expect(await status(fleet, bearer(secret))).toBe(401);
  });

  test('a revocation that is heard counts at once', async () => {
    const { fleet, secret, key } = await withKey();
    expect(await status(fleet, bearer(secret))).toBe('running');
    await revokeKey(fleet.world, key.id);
    fleet.world.ports('console-1').bus.publish(keyRevoked, [], { keyId: key.id });
    await fleet.world.clock.advance(1);
    expect(await status(fleet, bearer(secret))).toBe(401);
  });

  test('a key for some models gets 403 for another and does not see it listed', async () => {
    const { fleet, secret } = await withKey({ models: ['llama-3.1-8b'] });
    expect(await status(fleet, bearer(secret), { model: 'llama-3.1-70b' })).toBe(403);
    const list = fleet.fetch('/v1/models', bearer(secret));
    await fleet.until(() => list.ended);
    expect((list.json as { data: { id: string }[] }).data.map((model) => model.id)).toEqual(['llama-3.1-8b']);
  });

  test('a key for operators is not one for inference', async () => {
    const { fleet, secret } = await withKey({ scopes: ['operate'] });
    expect(await status(fleet, bearer(secret))).toBe(403);
  });

  test('in the open mode no key is needed, any SDK placeholder will do, and a real one still counts', async () => {
    const { fleet, secret, key } = await withKey({}, { auth: 'open' });
    expect(await status(fleet, {})).toBe('running');
    expect(await status(fleet, bearer('none'))).toBe('running');
    expect(await status(fleet, bearer(secret))).toBe('running');
    expect(fleet.asked.map((info) => info.keyId)).toEqual(['', '', key.id]);
    expect(fleet.world.telemetry.logs.filter((log) => log.message.startsWith('open mode'))).toHaveLength(1);
  });
});

describe('classes of service', () => {
  test.each([
    [{}, {}, 'standard', 0],
    [{ service_tier: 'priority' }, {}, 'interactive', 2],
    [{ service_tier: 'flex' }, {}, 'batch', -1],
    [{ service_tier: 'unheard-of' }, {}, 'standard', 0],
    [{ service_tier: 'flex' }, { 'x-gateway-inference-objective': 'gold' }, 'interactive', 9],
    [{}, { 'x-llm-d-inference-objective': 'batch' }, 'batch', 0],
  ])('%j with %j is %s at %i', async (fields, headers, sloClass, priority) => {
    const fleet = await ScriptedFleet.start({ objectives: { gold: { sloClass: 'interactive', priority: 9 } } });
    fleet.chat(fields, { headers });
    await fleet.until(() => fleet.asked.length === 1);
    expect(fleet.asked[0]).toMatchObject({ sloClass, priority });
  });

  test('wishes travel in headers of either spelling', async () => {
    const fleet = await ScriptedFleet.start();
    fleet.chat(
      {},
      { headers: { 'x-slo-ttft-ms': '250', 'x-llm-d-slo-tpot-ms': '40', 'x-session-id': 's-1', 'x-llm-d-inference-fairness-id': 'team-a' } },
    );
    await fleet.until(() => fleet.asked.length === 1);
    expect(fleet.asked[0]).toMatchObject({ ttftSloMs: 250, tpotSloMs: 40, sessionId: 's-1', fairnessId: 'team-a' });
  });
});

test('requests beyond the limit of the gateway get 429', async () => {
  const fleet = await ScriptedFleet.start({ maxRequests: 2 });
  expect(await status(fleet, {})).toBe('running');
  expect(await status(fleet, {})).toBe('running');
  expect(await status(fleet, {})).toBe(429);
});

test('one trace: the client’s, then the request, its admission and every stream, and what the agent is given', async () => {
  const fleet = await ScriptedFleet.start();
  const traceId = '0af7651916cd43dd8448eb211c80319c';
  const client = fleet.chat({}, { headers: { traceparent: `00-${traceId}-b7ad6b7169203331-01` } });
  await fleet.until(() => fleet.agents[0]!.opens.length === 1);
  fleet.agents[0]!.say(0, 1);
  await fleet.until(() => client.tokens.length === 1);
  fleet.world.net.cut(fleet.agents[0]!.address);
  await fleet.until(() => fleet.agents[1]!.opens.length === 1);
  fleet.agents[1]!.finish(1, 1);
  await fleet.until(() => client.ended);

  const spans = fleet.world.telemetry.spans.filter((span) => span.process === 'gateway-1' && span.traceId === traceId);
  const root = spans.find((span) => span.name === 'chat llama-3.1-8b')!;
  expect(root.parentSpanId).toBe('b7ad6b7169203331');
  expect(root.events.map((event) => event.name)).toEqual(['first_token', 'failover']);
  expect(root.attributes).toMatchObject({ 'gen_ai.operation.name': 'chat', 'gen_ai.usage.output_tokens': 2, 'switchyard.outcome': 'completed' });
  const children = spans.filter((span) => span.parentSpanId === root.spanId);
  expect(children.map((span) => span.name)).toEqual(['admit', 'stream', 'admit', 'stream']);
  const [, first, , second] = children;
  expect(fleet.agents[0]!.opens[0]!.traceparent).toContain(first!.spanId);
  expect(fleet.agents[1]!.opens[0]!.traceparent).toContain(second!.spanId);
  expect(spans.every((span) => span.endMs !== undefined)).toBe(true);
  expect([root, ...children].every((span) => span.attributes['switchyard.request.id'] === fleet.asked[0]!.requestId)).toBe(true);
});

test('times and tokens are measured', async () => {
  const fleet = await ScriptedFleet.start();
  const client = fleet.chat();
  await fleet.until(() => fleet.agents[0]!.opens.length === 1);
  await fleet.world.clock.advance(200);
  fleet.agents[0]!.say(0, 1);
  await fleet.world.clock.advance(100);
  fleet.agents[0]!.finish(1, 2);
  await fleet.until(() => client.ended);
  const measured = fleet.world.telemetryOf('gateway-1').observations;
  const labels = '{model="llama-3.1-8b",pool="chat",slo_class="standard"}';
  expect(measured.get(`switchyard_request_ttft_seconds${labels}`)?.[0]).toBeCloseTo(0.2);
  expect(measured.get(`switchyard_request_tpot_seconds${labels}`)?.[0]).toBeCloseTo(0.05);
  expect(measured.get(`switchyard_request_e2e_seconds${labels}`)?.[0]).toBeCloseTo(0.3);
  expect(fleet.world.telemetryOf('gateway-1').value('switchyard_output_tokens_total')).toBe(3);
});
