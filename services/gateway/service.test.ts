import { describe, expect, test } from 'vitest';
import * as contracts from '../../lib/contracts.ts';
import { ScriptedFleet } from './scripted-fleet.ts';

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

describe('an answer', () => {
  test('is streamed: the head with the first bytes, data untouched, [DONE] at the end', async () => {
    const fleet = await ScriptedFleet.start();
    const [agent] = fleet.agents;
    const client = fleet.chat({ max_tokens: 50 }, { headers: { 'x-request-id': 'mine-1' } });
    await fleet.until(() => agent!.opens.length === 1);
    expect(client.status).toBe(0);
    agent!.say(0, 1);
    await fleet.until(() => client.tokens.length === 1);
    expect(client.status).toBe(200);
    expect(client.headers).toMatchObject({
      'content-type': 'text/event-stream; charset=utf-8',
      'x-accel-buffering': 'no',
      'x-request-id': 'mine-1',
      'x-switchyard-request-id': expect.stringMatching(/^req-/),
      traceparent: expect.stringMatching(/^00-/),
    });
    agent!.say(1, 2);
    agent!.finish(3, 1);
    await fleet.until(() => client.ended);
    expect(client.text).toBe(
      `${upTo(4)
        .map((id) => `data: {"token":${id}}\n\n`)
        .join('')}data: [DONE]\n\n`,
    );
    expect(agent!.opens[0]).toMatchObject({
      epoch: 1,
      instanceId: 'chat-1',
      endpoint: 'chat',
      clientStreams: true,
      maxOutputTokens: 50,
      nextIndex: 0,
    });
  });

  test('is one body for a client that does not stream', async () => {
    const fleet = await ScriptedFleet.start();
    const [agent] = fleet.agents;
    const client = fleet.chat({ stream: false });
    await fleet.until(() => agent!.opens.length === 1);
    agent!.say(0, 2);
    agent!.finish(2, 1);
    await fleet.until(() => client.ended);
    expect(client.status).toBe(200);
    expect(client.headers['content-type']).toBe('application/json');
    expect(client.json).toEqual({ object: 'chat.completion', n: 3 });
  });

  test('is accounted for once, with what the engine counted', async () => {
    const fleet = await ScriptedFleet.start();
    const [agent] = fleet.agents;
    const client = fleet.chat();
    await fleet.until(() => agent!.opens.length === 1);
    agent!.say(0, 2);
    agent!.finish(2, 1);
    await fleet.until(() => client.ended && fleet.done.length === 1);
    await fleet.world.clock.advance(60_000);
    expect(fleet.done).toHaveLength(1);
    expect(fleet.done[0]).toMatchObject({
      outcome: 'completed',
      promptTokens: 7,
      cachedTokens: 2,
      outputTokens: 3,
      epoch: 1,
      pool: 'chat',
      instanceId: 'chat-1',
    });
  });

  test('carries the limits that admission told', async () => {
    const fleet = await ScriptedFleet.start();
    const limits = { limitRequests: 60, remainingRequests: 41, resetRequestsMs: 1500, limitTokens: 0, remainingTokens: 0, resetTokensMs: 0 };
    fleet.admission = (info) => ({ ...fleet.assign(info, fleet.agents[0]), limits });
    const client = fleet.chat({ stream: false });
    await fleet.until(() => fleet.agents[0]!.opens.length === 1);
    fleet.agents[0]!.finish(0, 1);
    await fleet.until(() => client.ended);
    expect(client.headers).toMatchObject({
      'x-ratelimit-limit-requests': '60',
      'x-ratelimit-remaining-requests': '41',
      'x-ratelimit-reset-requests': '1.5s',
    });
    expect(client.headers['x-ratelimit-limit-tokens']).toBeUndefined();
  });

  test('of many requests shares one link to an agent', async () => {
    const fleet = await ScriptedFleet.start();
    const [agent] = fleet.agents;
    const clients = upTo(20).map(() => fleet.chat());
    await fleet.until(() => agent!.opens.length === 20);
    expect(agent!.connections).toHaveLength(1);
    expect(agent!.hellos).toBe(1);
    expect(new Set(agent!.opens.map((open) => open.stream)).size).toBe(20);
    for (const open of agent!.opens) agent!.say(0, 1, { finishReason: 'stop' }, open);
    await fleet.until(() => clients.every((client) => client.ended));
    expect(clients.every((client) => client.text.endsWith('data: [DONE]\n\n'))).toBe(true);
  });
});

describe('what the agent is told beside the body', () => {
  test.each([
    [{}, { includeUsage: false, serviceTier: '' }],
    [
      { stream_options: { include_usage: true }, service_tier: 'fast' },
      { includeUsage: true, serviceTier: 'priority' },
    ],
  ])('of %j', async (fields, told) => {
    const fleet = await ScriptedFleet.start();
    fleet.chat(fields);
    await fleet.until(() => fleet.agents[0]!.opens.length === 1);
    expect(fleet.agents[0]!.opens[0]).toMatchObject(told);
  });
});

describe('the bytes of a body', () => {
  test.each([
    [
      'escapes, large numbers, duplicates and spaces',
      '{ "model":"llama-3.1-8b" ,"messages":[{"role":"user","content":"\\u00e9\\ud83d\\ude00 é"}], "x":12345678901234567890.10e+2,"x":1,\n\t"nested":{"kv_transfer_params":1} }',
    ],
    [
      'unknown fields',
      '{"model":"llama-3.1-8b","messages":[{"role":"user","content":"x"}],"chat_template_kwargs":{"a":[1,{"b":null}]},"return_token_ids":true,"cache_salt":"s"}',
    ],
  ])('reach the engine as they came: %s', async (_what, body) => {
    const fleet = await ScriptedFleet.start();
    fleet.post(body);
    await fleet.until(() => fleet.agents[0]!.opens.length === 1);
    expect(new TextDecoder().decode(fleet.agents[0]!.opens[0]!.body)).toBe(body);
  });

  test('reach the engine without what clients may not set, however it is spelled', async () => {
    const fleet = await ScriptedFleet.start();
    fleet.post(
      '{"kv_\\u0074ransfer_params":{"do_remote_decode":true}, "model":"llama-3.1-8b","messages":[{"role":"user","content":"1.0"}] , "priority":-5,"id_slot":0, "vllm_xargs":{"kv_transfer_params":"x","a":1},"vllm_xargs":{}, "kv_transfer_params": -5}',
    );
    await fleet.until(() => fleet.agents[0]!.opens.length === 1);
    expect(new TextDecoder().decode(fleet.agents[0]!.opens[0]!.body)).toBe(
      '{"model":"llama-3.1-8b","messages":[{"role":"user","content":"1.0"}] , "vllm_xargs":{"a":1},"vllm_xargs":{}}',
    );
  });
});

describe('what a client may do wrong', () => {
  const message = [{ role: 'user', content: 'x' }];
  test.each([
    ['broken JSON', '{"model":', 400, 'invalid_json', null],
    ['JSON that is not an object', '[1]', 400, 'invalid_json', null],
    ['bytes that are not UTF-8', Uint8Array.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), 400, 'invalid_json', null],
    ['no model', { messages: message }, 400, 'invalid_request', 'model'],
    ['an unknown model', { model: 'gpt-9', messages: message }, 404, 'model_not_found', 'model'],
    ['no messages', { model: 'llama-3.1-8b', messages: [] }, 400, 'invalid_request', 'messages'],
    ['a senseless limit', { model: 'llama-3.1-8b', messages: message, max_tokens: -1 }, 400, 'invalid_request', 'max_tokens'],
    [
      'a limit that nobody has',
      { model: 'llama-3.1-8b', messages: message, max_completion_tokens: 10_000_000 },
      400,
      'invalid_request',
      'max_completion_tokens',
    ],
    ['the same in the older way', { model: 'llama-3.1-8b', messages: message, max_tokens: 10_000_000 }, 400, 'invalid_request', 'max_tokens'],
    ['a body that is too large', { model: 'llama-3.1-8b', messages: [{ role: 'user', content: 'x'.repeat(2_000) }] }, 413, 'body_too_large', null],
  ])('%s', async (_what, body, status, code, param) => {
    const fleet = await ScriptedFleet.start({ maxBodyBytes: 1_500 });
    const client = fleet.post(body);
    await fleet.until(() => client.ended);
    expect(client.status).toBe(status);
    expect(client.error).toMatchObject({ code, param });
    expect(Object.keys(client.error)).toEqual(['message', 'type', 'param', 'code']);
    expect(client.headers['x-request-id']).toMatch(/^req-/);
    expect(fleet.asked).toHaveLength(0);
  });

  test.each([
    ['GET', '/v1/chat/completions', 405, 'method_not_allowed'],
    ['POST', '/v1/models', 405, 'method_not_allowed'],
    ['POST', '/v1/embeddings', 404, 'not_found'],
    ['GET', '/nowhere', 404, 'not_found'],
    ['GET', '/v1/models/gpt-9', 404, 'model_not_found'],
  ])('%s %s', async (method, path, status, code) => {
    const fleet = await ScriptedFleet.start();
    const client = fleet.fetch(path, { method });
    await fleet.until(() => client.ended);
    expect(client.status).toBe(status);
    expect(client.error.code).toBe(code);
    if (status === 405) expect(client.headers.allow).toBe(method === 'GET' ? 'POST' : 'GET');
  });
});

describe('lists and probes', () => {
  test('models are listed under every name, also with slashes', async () => {
    const fleet = await ScriptedFleet.start();
    const list = fleet.fetch('/v1/models');
    const one = fleet.fetch('/v1/models/small/alias');
    await fleet.until(() => list.ended && one.ended);
    expect((list.json as { data: { id: string }[] }).data.map((model) => model.id)).toEqual(['llama-3.1-70b', 'llama-3.1-8b', 'small/alias']);
    expect(one.json).toMatchObject({ id: 'small/alias', object: 'model', owned_by: 'switchyard' });
  });

  test('readiness follows the fleet; liveness does not', async () => {
    const fleet = await ScriptedFleet.start();
    const status = async (path: string) => {
      const client = fleet.fetch(path);
      await fleet.until(() => client.ended);
      return [client.status, (client.json as { reason?: string }).reason];
    };
    expect(await status('/readiness')).toEqual([503, 'no instance has reported']);
    fleet.publishFleet();
    await fleet.until(() => fleet.running.ready() === true);
    expect(await status('/readiness')).toEqual([200, undefined]);
    fleet.publishFleet({ 'chat-1': 'dead', 'chat-2': 'suspect' });
    await fleet.until(() => fleet.running.ready() !== true);
    expect(await status('/readiness')).toEqual([503, 'no instance takes requests: chat-1 is dead, chat-2 does not report']);
    expect(await status('/liveness')).toEqual([200, undefined]);
    expect(await status('/health')).toEqual([200, undefined]);
  });

  test('readiness says at once that no agent can be reached any more', async () => {
    const fleet = await ScriptedFleet.start();
    fleet.publishFleet();
    await fleet.until(() => fleet.agents.every((agent) => agent.hellos === 1));
    for (const agent of fleet.agents) fleet.world.net.cut(agent.address);
    const cutMs = fleet.world.clock.now();
    await fleet.until(() => fleet.running.ready() !== true);
    expect(fleet.world.clock.now() - cutMs).toBeLessThan(50);
    expect(fleet.running.ready()).toBe('no instance takes requests: chat-1 cannot be reached, chat-2 cannot be reached');
  });

  test('running and recent requests are listed', async () => {
    const fleet = await ScriptedFleet.start();
    const [agent] = fleet.agents;
    const first = fleet.chat();
    await fleet.until(() => agent!.opens.length === 1);
    agent!.finish(0, 1);
    await fleet.until(() => first.ended);
    fleet.chat();
    await fleet.until(() => agent!.opens.length === 2);
    agent!.say(0, 2);
    await fleet.world.clock.advance(1);
    const operator = fleet.world.ports('console-1').bus;
    const [running] = await fleet.settled(operator.gather(contracts.listRequests, [], { includeEnded: false }, { timeoutMs: 100, expected: 1 }));
    expect(running!.requests).toMatchObject([{ state: 'streaming', instanceId: 'chat-1', epoch: 1, tokens: 2, gatewayId: 'gateway-1' }]);
    const [all] = await fleet.settled(operator.gather(contracts.listRequests, [], { includeEnded: true }, { timeoutMs: 100, expected: 1 }));
    expect(all!.requests.map((row) => row.state)).toEqual(['streaming', 'completed']);
  });
});
