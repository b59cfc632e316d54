// The agent in a memory world: streams, cancels, back-pressure, reports, launcher, drain.
import { crc32 } from 'node:zlib';
import { beforeEach, describe, expect, test } from 'vitest';
import { expectedTokens } from '../../core/engine/token-function.ts';
import type { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Connection, Net } from '../../lib/ports/net.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { createMemoryWorld, type MemoryWorld } from '../../lib/run/memory-ports.ts';
import { type InstanceStatus, KvFrame } from '../../proto/gen/messages.ts';
import { chatBody, migration, model, startAgent, TestGateway, type TestRequest, watchStatus } from './agent-fixtures.ts';

let world: MemoryWorld<VirtualClock>;
let outside: Ports;
let status: Map<string, InstanceStatus>;

beforeEach(() => {
  world = createMemoryWorld();
  outside = world.ports('test');
  status = watchStatus(outside);
});

const until = (condition: () => boolean) => world.clock.until(condition, 60_000);
const ended = (request: TestRequest) => until(() => request.finish !== undefined || request.error != null);

async function agentAndGateway(sim: Record<string, unknown> = {}, more: Record<string, unknown> = {}, ports = world.ports('agent-1')) {
  const running = await startAgent(ports, 'i', more, sim);
  await until(() => status.has('i'));
  return { running, gateway: await TestGateway.connect(outside.net, status.get('i')!.address) };
}

const chunks = (request: TestRequest) =>
  request.data
    .split('\n\n')
    .filter((part) => part !== '')
    .map((part) => JSON.parse(part.slice('data: '.length)));

describe('a stream', () => {
  test('is OpenAI chunks: role first, a word each, the reason at the end, and the client’s bytes untouched', async () => {
    const { gateway } = await agentAndGateway();
    const body = chatBody('Hello there', 5, { strange_field: { a: [1, 2.5] } });
    const request = gateway.open('i', 'r', { body });
    await ended(request);
    const all = chunks(request);
    expect(all).toHaveLength(7);
    expect(all[0]).toEqual({
      id: 'chatcmpl-r',
      object: 'chat.completion.chunk',
      created: 1_700_000_000,
      model,
      system_fingerprint: `sim-${crc32(body).toString(16).padStart(8, '0')}`,
      choices: [{ index: 0, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }],
    });
    expect(
      all
        .slice(1, 6)
        .map((chunk) => chunk.choices[0].delta.content)
        .join(''),
    ).toBe(request.text);
    expect(all[6].choices).toEqual([{ index: 0, delta: {}, logprobs: null, finish_reason: 'length' }]);
    expect(request.data).not.toContain('[DONE]');
    expect(request.finish!.usage).toEqual({ promptTokens: expect.any(Number), outputTokens: 5, cachedTokens: 0 });
    request.expectExact(body, 5);
  });

  test('ends with usage when the client asked for it, and every other chunk says null', async () => {
    const { gateway } = await agentAndGateway();
    const request = gateway.open('i', 'r', { body: chatBody('Hello', 2), includeUsage: true });
    await ended(request);
    const all = chunks(request);
    expect(all.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 2, prompt_tokens_details: { cached_tokens: 0 } } });
    expect(all.slice(0, -1).every((chunk) => chunk.usage === null)).toBe(true);
  });

  test('of a client that does not stream is one body at the end', async () => {
    const { gateway } = await agentAndGateway();
    const prompt = 'Once upon a time';
    const body = Buffer.from(JSON.stringify({ model, prompt, max_tokens: 6 }));
    const request = gateway.open('i', 'r', { endpoint: 'completions', body, clientStreams: false });
    await ended(request);
    const { text } = expectedTokens(model, prompt, 6);
    expect(request.data).toBe('');
    expect(JSON.parse(Buffer.from(request.finish!.finalBody).toString())).toMatchObject({
      id: 'cmpl-r',
      object: 'text_completion',
      model,
      choices: [{ index: 0, text, finish_reason: 'length' }],
      usage: { completion_tokens: 6 },
    });
  });

  test('without a limit ends by itself', async () => {
    const { gateway } = await agentAndGateway({ maxContextTokens: 400, blocks: 200 });
    const request = gateway.open('i', 'r', { body: chatBody('Tell me', undefined), maxOutputTokens: 256 });
    await ended(request);
    expect(request.finish!.finishReason).toBe('stop');
    expect(request.ids.length).toBeGreaterThanOrEqual(16);
    request.expectExact(chatBody('Tell me', undefined), request.ids.length);
  });

  test('ends before a stop string', async () => {
    const { gateway } = await agentAndGateway();
    const words = expectedTokens(model, '<|user|>Hello\n<|assistant|>', 20).text.trim().split(' ');
    const body = chatBody('Hello', 20, { stop: [` ${words[7]} ${words[8]!.slice(0, 1)}`, 'zebra'] });
    const request = gateway.open('i', 'r', { body, clientStreams: false });
    await ended(request);
    expect(request.finish!.finishReason).toBe('stop');
    expect(JSON.parse(Buffer.from(request.finish!.finalBody).toString()).choices[0].message.content).toBe(` ${words.slice(0, 7).join(' ')}`);
  });

  test.each([
    ['within a token', (text: string) => text.slice(20, 22)],
    ['over three tokens', (text: string) => text.slice(20, 31)],
    ['to the end of the text', (text: string) => text.slice(-7)],
  ])('shows nothing of a stop string %s, nor after it, wherever the request is continued', async (_where, stopOf) => {
    const { gateway } = await agentAndGateway();
    const { ids, text } = expectedTokens(model, '<|user|>Hello\n<|assistant|>', 20);
    const stop = stopOf(text);
    const body = chatBody('Hello', 20, { stop: [stop, 'zebra'] });
    const before = text.slice(0, text.indexOf(stop));
    const shownBy = (request: TestRequest) =>
      chunks(request)
        .map((chunk) => chunk.choices[0].delta.content ?? '')
        .join('');
    const whole = gateway.open('i', 'whole', { body });
    await ended(whole);
    expect([shownBy(whole), whole.text, whole.finish!.finishReason]).toEqual([before, before, 'stop']);
    // The same, cut after every token: what had been shown by then, then the rest from the token log.
    const shownAfter = gateway.frames.flatMap((frame) => frame.step?.events ?? []).map((event) => event.text);
    for (let cut = 1; cut < whole.ids.length; cut++) {
      const resumeText = shownAfter.slice(0, cut).join('');
      const rest = gateway.open('i', `rest-${cut}`, { body, epoch: 2, resumeTokenIds: ids.slice(0, cut), resumeText, nextIndex: cut });
      await ended(rest);
      expect([cut, resumeText + shownBy(rest), rest.finish!.finishReason]).toEqual([cut, before, 'stop']);
    }
  });

  test('shows what was held back when no stop string has come by its end', async () => {
    const { gateway } = await agentAndGateway();
    const { text } = expectedTokens(model, '<|user|>Hello\n<|assistant|>', 6);
    const request = gateway.open('i', 'r', { body: chatBody('Hello', 6, { stop: `${text.slice(-4)}!` }) });
    await ended(request);
    expect([request.text, request.finish!.finishReason]).toEqual([text, 'length']);
  });

  test('states the service tier that it was given, in every chunk and in a whole body', async () => {
    const { gateway } = await agentAndGateway();
    const streamed = gateway.open('i', 'a', { body: chatBody('Hello', 2), serviceTier: 'flex' });
    const whole = gateway.open('i', 'b', { body: chatBody('Hello', 2), serviceTier: 'flex', clientStreams: false });
    await ended(streamed);
    await ended(whole);
    expect(chunks(streamed).map((chunk) => chunk.service_tier)).toEqual(Array(4).fill('flex'));
    expect(JSON.parse(Buffer.from(whole.finish!.finalBody).toString()).service_tier).toBe('flex');
  });

  test('continues from a token log, with no second role', async () => {
    const { gateway } = await agentAndGateway();
    const body = chatBody('Hello', 12);
    const { ids, text } = expectedTokens(model, '<|user|>Hello\n<|assistant|>', 12);
    const request = gateway.open('i', 'r', { body, epoch: 3, resumeTokenIds: ids.slice(0, 8), resumeText: text, nextIndex: 8 });
    await ended(request);
    expect([request.finish!.index + 1, request.ids]).toEqual([12, ids.slice(8)]);
    expect(request.data).not.toContain('role');
    const complete = gateway.open('i', 'r2', { body, resumeTokenIds: ids, resumeText: text, nextIndex: 12 });
    await ended(complete);
    expect(complete.finish).toMatchObject({ index: 12, tokenIds: [], finishReason: 'length', usage: { outputTokens: 12 } });
  });

  test.each([
    ['no JSON', Buffer.from('{'), 'invalid_json'],
    ['no messages', Buffer.from('{"model":"m"}'), 'invalid_request'],
    ['several choices', chatBody('x', 3, { n: 2 }), 'invalid_request'],
    ['no room for an answer', chatBody('word '.repeat(600), 3), 'context_length_exceeded'],
  ])('is refused for a body with %s', async (_name, body, code) => {
    const { gateway } = await agentAndGateway();
    const request = gateway.open('i', 'r', { body });
    await ended(request);
    expect(request.error).toMatchObject({ code, retryable: false });
  });

  test('for an instance that is not here is refused so that the gateway asks again', async () => {
    const { gateway } = await agentAndGateway();
    const request = gateway.open('gone', 'r', { body: chatBody('x', 3) });
    await ended(request);
    expect(request.error).toMatchObject({ code: 'no_instance', retryable: true });
  });

  test('shares its step’s frame with the others of its link', async () => {
    const { gateway } = await agentAndGateway();
    const requests = ['a', 'b', 'c', 'd'].map((id) => gateway.open('i', id, { body: chatBody(`Hello ${id}`, 20) }));
    await Promise.all([until(() => requests.every((request) => request.finish))]);
    for (const [i, request] of requests.entries()) request.expectExact(chatBody(`Hello ${'abcd'[i]}`, 20), 20);
    expect(gateway.frames.filter((frame) => frame.step).length).toBeLessThan(30);
  });
});

describe('a client that leaves', () => {
  const freeAgain = () => until(() => status.get('i')!.sequences.length === 0 && status.get('i')!.freeBlocks === 64);

  test.each([
    ['waiting', { maxRunning: 1 }],
    ['prefill', { prefillChunk: 16 }],
    ['decode', {}],
  ])('in %s frees its blocks by the end of the step', async (state, sim) => {
    const { gateway } = await agentAndGateway({ speed: 0.05, ...sim }, { reportMinMs: 1 });
    if (state === 'waiting') gateway.open('i', 'first', { body: chatBody('x', 200) });
    gateway.open('i', 'r', { body: chatBody('word '.repeat(60), 100) });
    await until(() => status.get('i')!.sequences.some((s) => s.requestId === 'r' && s.state === state));
    const at = world.clock.now();
    gateway.cancel('r', 1, 'client_left');
    await until(() => !status.get('i')!.sequences.some((s) => s.requestId === 'r'));
    expect(world.clock.now() - at).toBeLessThan(100);
    if (state === 'waiting') gateway.cancel('first', 1, 'client_left');
    await freeAgain();
  });

  test('with its whole link ends all of its streams', async () => {
    const { gateway } = await agentAndGateway();
    gateway.open('i', 'a', { body: chatBody('x', 200) });
    gateway.open('i', 'b', { body: chatBody('y', 200) });
    await until(() => status.get('i')!.running === 2);
    gateway.connection.close();
    await freeAgain();
  });
});

describe('a gateway that reads slowly', () => {
  function slowNet(blocked: { on: boolean }): Net {
    return {
      connect: (...args) => world.net.connect(...args),
      listen: (kind, options, onConnection) =>
        world.net.listen(kind, options, (connection) => {
          onConnection(
            new Proxy(connection, {
              get(inner, name) {
                if (name === 'buffered' && blocked.on) return () => 1_000_000;
                if (name === 'drained' && blocked.on)
                  return () =>
                    new Promise<void>((resolve) => {
                      inner.onClose(() => resolve());
                      blockedUntil.push(resolve);
                    });
                const value = inner[name as keyof Connection];
                return typeof value === 'function' ? value.bind(inner) : value;
              },
            }),
          );
        }),
    };
  }
  let blockedUntil: (() => void)[] = [];
  beforeEach(() => {
    blockedUntil = [];
  });

  test('has its sequences held, and nothing is lost when it catches up', async () => {
    const blocked = { on: false };
    const { gateway } = await agentAndGateway({}, { linkBufferBytes: 8192 }, { ...world.ports('agent-1'), net: slowNet(blocked) });
    const body = chatBody('Hello', 100);
    const request = gateway.open('i', 'r', { body });
    await until(() => request.ids.length > 10);
    blocked.on = true;
    await world.clock.advance(200);
    const held = request.ids.length;
    await world.clock.advance(1000);
    expect(request.ids.length).toBe(held);
    const other = gateway.open('i', 'other', { body });
    await world.clock.advance(200);
    expect(other.ids).toEqual([]);
    blocked.on = false;
    for (const resolve of blockedUntil) resolve();
    await ended(request);
    await ended(other);
    request.expectExact(body, 100);
    other.expectExact(body, 100);
  });

  test('and never catches up loses its link', async () => {
    const blocked = { on: true };
    const { gateway } = await agentAndGateway({}, { stuckLinkMs: 500, linkBufferBytes: 8192 }, { ...world.ports('agent-1'), net: slowNet(blocked) });
    let closed = false;
    gateway.connection.onClose(() => {
      closed = true;
    });
    gateway.open('i', 'r', { body: chatBody('Hello', 100) });
    await until(() => closed);
    await until(() => status.get('i')!.sequences.length === 0);
  });
});

describe('status', () => {
  test('says what the instance is and carries, soon after a change and as a heartbeat', async () => {
    const reports: InstanceStatus[] = [];
    outside.bus.subscribe(contracts.instanceStatus, ['chat', 'i'], (report) => reports.push(report));
    const { gateway } = await agentAndGateway({ maxRunning: 1 }, { heartbeatMs: 500, reportMinMs: 50 });
    expect(reports[0]).toMatchObject({
      ...{ instanceId: 'i', pool: 'chat', model, role: 'mixed', engine: 'sim', agentId: 'agent-1', accepting: true, profile: 'llama-3.1-8b-h100' },
      ...{ totalBlocks: 64, freeBlocks: 64, blockTokens: 4, kvBytesPerToken: 64, maxRunning: 1, running: 0, waiting: 0 },
      capabilities: ['kv_export', 'recompute', 'continue:*', 'prefix_cache'],
    });
    expect(reports[0]!.address).toMatch(/^ws:/);
    expect(reports[0]!.kvAddress).toMatch(/^tcp:/);
    gateway.open('i', 'a', { body: chatBody('one', 200), priority: 3, traceparent: '00-aa-bb-01' });
    gateway.open('i', 'b', { body: chatBody('two', 20) });
    await until(() => reports.at(-1)!.waiting === 1);
    expect(reports.at(-1)).toMatchObject({ running: 1, headBlocks: reports.at(-1)!.waitingBlocks });
    expect(reports.at(-1)!.sequences[0]).toMatchObject({
      requestId: 'a',
      epoch: 1,
      priority: 3,
      gatewayId: 'gateway-1',
      traceparent: '00-aa-bb-01',
      maxOutputTokens: 200,
    });
    await world.clock.advance(600);
    const beforeQuiet = reports.length;
    await world.clock.advance(500);
    // A busy but unchanged instance reports its progress with the heartbeat.
    expect(reports.length - beforeQuiet).toBeLessThanOrEqual(2);
    const times = reports.map((report) => report.atMs);
    for (let i = 1; i < times.length; i++) {
      expect(times[i]! - times[i - 1]!).toBeGreaterThanOrEqual(49.9);
      expect(times[i]! - times[i - 1]!).toBeLessThanOrEqual(500.1);
      expect(reports[i]!.sequenceNumber).toBe(reports[i - 1]!.sequenceNumber + 1);
    }
  });
});

test('a KV connection that was refused, or never says what it is for, does not stay', async () => {
  await agentAndGateway();
  const { kvAddress } = status.get('i')!;
  const closed: string[] = [];
  for (const name of ['silent', 'refused']) {
    const connection = await outside.net.connect(kvAddress, { timeoutMs: 1000, maxFrameBytes: 1_000_000 });
    connection.onClose(() => closed.push(name));
    const hello = { reservationId: 'none', transferToken: '', stage: 0, connection: 0, traceparent: '' };
    if (name === 'refused') connection.send(KvFrame.encode({ hello }));
  }
  await world.clock.advance(6_000);
  expect(closed.toSorted()).toEqual(['refused', 'silent']);
});

describe('launcher', () => {
  const start = (instanceId: string, more: { pool?: string; epoch?: number } = {}) =>
    outside.bus.request(contracts.startInstance, [instanceId], { pool: 'chat', instanceId, epoch: 5, ...more }, { timeoutMs: 1000 });
  const stop = (instanceId: string, epoch = 5) =>
    outside.bus.request(contracts.stopInstance, [instanceId], { pool: 'chat', instanceId, epoch }, { timeoutMs: 1000 });
  const answer = async <T>(work: Promise<T>): Promise<T> => {
    let settled = false;
    void work.finally(() => {
      settled = true;
    });
    await until(() => settled);
    return work;
  };

  test('starts and stops engines, each command as often as it comes', async () => {
    const { gateway } = await agentAndGateway({}, { launcher: true });
    expect(await answer(start('new'))).toMatchObject({ refusal: null });
    expect(await answer(start('new'))).toMatchObject({ refusal: null });
    await until(() => status.has('new'));
    const request = gateway.open('new', 'r', { body: chatBody('Hello', 200) });
    await until(() => request.ids.length > 2);
    expect(await answer(stop('new'))).toMatchObject({ refusal: null });
    await ended(request);
    expect(request.error).toMatchObject({ code: 'draining', retryable: true });
    expect(await answer(stop('new'))).toMatchObject({ refusal: null });
    await until(() => !status.get('new')!.accepting);
    const reports = status.get('new')!.sequenceNumber;
    await world.clock.advance(5000);
    expect(status.get('new')!.sequenceNumber).toBe(reports);
  });

  test('is not asked for instances that it may not start', async () => {
    await agentAndGateway({}, { launcher: true, launches: 'chat-8,chat-9' });
    expect(await answer(start('chat-9'))).toMatchObject({ refusal: null });
    const asked = start('chat-7').then(
      () => 'started',
      (thrown: SwitchyardError) => thrown.code,
    );
    expect(await answer(asked)).toBe('no_responders');
  });

  test('refuses an unknown pool and an owner that is not the newest', async () => {
    await agentAndGateway({}, { launcher: true });
    expect((await answer(start('x', { pool: 'nope' }))).refusal).toMatchObject({ code: 'unknown_pool' });
    await answer(start('x', { epoch: 7 }));
    expect((await answer(start('y', { epoch: 6 }))).refusal).toMatchObject({ code: 'stale_epoch' });
    expect((await answer(stop('x', 6))).refusal).toMatchObject({ code: 'stale_epoch' });
  });

  test('an id that is too long for an address is refused and nothing is started', async () => {
    await agentAndGateway({}, { launcher: true });
    expect(await answer(start('i'.repeat(250)))).toMatchObject({ refusal: { code: 'invalid_request' } });
    expect(await outside.store.list('lease/')).toEqual([]);
  });

  test('two of them run an instance once', async () => {
    await agentAndGateway({}, { launcher: true });
    await startAgent(world.ports('agent-2'), 'j', { launcher: true });
    for (let i = 0; i < 6; i++) await answer(start('new'));
    await world.clock.advance(30_000);
    const seen = new Set<string>();
    outside.bus.subscribe(contracts.instanceStatus, ['chat', 'new'], ({ agentId }) => seen.add(agentId));
    await world.clock.advance(2000);
    expect(seen.size).toBe(1);
  });
});

describe('drain', () => {
  test('takes nothing new, lets what runs end, then closes', async () => {
    const { running, gateway } = await agentAndGateway();
    const body = chatBody('Hello', 30);
    const request = gateway.open('i', 'r', { body });
    await until(() => request.ids.length > 0);
    let done = false;
    void running.drain(60_000).then(() => {
      done = true;
    });
    const late = gateway.open('i', 'late', { body });
    await ended(late);
    expect(late.error).toMatchObject({ code: 'draining' });
    await until(() => done);
    request.expectExact(body, 30);
    expect(status.get('i')!.accepting).toBe(false);
  });

  test('ends what is left when its time is over, so that it can continue elsewhere', async () => {
    const { running, gateway } = await agentAndGateway({ speed: 0.01 });
    const request = gateway.open('i', 'r', { body: chatBody('Hello', 200) });
    await until(() => request.ids.length > 0);
    const drained = running.drain(300);
    await ended(request);
    expect(request.error).toMatchObject({ code: 'draining', retryable: true });
    await world.clock.advance(1000);
    await drained;
  });
});

describe('traces', () => {
  test('a generation hangs in its request’s trace; both sides of a copy hang in the migration’s', async () => {
    const { gateway } = await agentAndGateway();
    await startAgent(world.ports('agent-2'), 'j');
    const client = outside.telemetry.start('client');
    const request = gateway.open('i', 'r', { body: chatBody('Hello', 60), traceparent: client.context.traceparent });
    await until(() => request.ids.length > 5);
    const moves = migration(outside, { id: 'm', requestId: 'r', source: 'i', target: 'j' });
    const root = outside.telemetry.start('migrate');
    let copied = false;
    const work = outside.telemetry.within(root.context, async () => {
      await moves.reserve(20);
      await moves.copy(0, { last: true });
      await moves.release(false);
      copied = true;
    });
    await until(() => copied);
    await work;
    await ended(request);
    await until(() => world.telemetry.spans.some((span) => span.name === 'kv.receive' && span.endMs !== undefined));
    const find = (name: string) => world.telemetry.spans.find((span) => span.name === name)!;
    const generate = find('engine.generate');
    expect(generate.traceId).toBe(client.traceId);
    expect(generate.events.map((event) => event.name)).toEqual(['admitted', 'first token', 'paused', 'resumed', 'finish']);
    expect(generate.attributes).toMatchObject({
      'gen_ai.usage.output_tokens': 60,
      'switchyard.instance.id': 'i',
      'gen_ai.response.finish_reasons': 'length',
    });
    const [send, receive] = [find('kv.send'), find('kv.receive')];
    expect([send.traceId, receive.traceId]).toEqual([root.traceId, root.traceId]);
    expect(receive.parentSpanId).toBe(send.spanId);
    expect(receive.attributes['switchyard.bytes']).toBe(send.attributes['switchyard.bytes']);
  });
});
