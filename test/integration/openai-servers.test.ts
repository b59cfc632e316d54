// Two servers with the OpenAI API behind a whole fleet: what clients see while they fail, are paused and come back.
import { Agent, request } from 'undici';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { createNodeHttp } from '../../lib/http/node-http.ts';
import type { HttpServer } from '../../lib/ports/http.ts';
import { createMemoryTelemetry } from '../../lib/telemetry/memory-telemetry.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { OpenaiServer } from '../support/openai-server/openai-server.ts';
import { freePort } from '../support/ports.ts';

const http = createNodeHttp({ clock: systemClock, telemetry: createMemoryTelemetry(systemClock) });
/** Streams are read to their end or destroyed; nothing is kept. */
const dispatcher = new Agent({ pipelining: 0, bodyTimeout: 30_000 });
const messages = [{ role: 'user', content: 'Tell me about the sea' }];

interface Served {
  readonly server: OpenaiServer;
  readonly port: number;
  listening: HttpServer;
}

const served: Served[] = [];
let fleet: Fleet;

async function serve(port: number): Promise<Served> {
  const server = new OpenaiServer({ kind: 'vllm', clock: systemClock, stepMs: 20, contextTokens: 2_000, halves: true });
  return { server, port, listening: await http.serve({ host: '127.0.0.1', port }, server.handler) };
}

beforeAll(async () => {
  for (let count = 0; count < 2; count++) served.push(await serve(await freePort()));
  const servers = served.map(({ port }) => ({ url: `http://127.0.0.1:${port}` }));
  fleet = await startFleet({
    pools: [{ id: 'chat', models: ['tiny'], engine: 'openai', openai: { servers }, instances: 2, max: 2, floor: 0 }],
    settings: { gateway: { firstTokenMs: 5_000 } },
  });
  await fleet.whole();
}, 120_000);

afterAll(async () => {
  await fleet?.stop();
  await Promise.all(served.map(({ listening }) => listening.close(0)));
  await dispatcher.destroy();
});

interface Chunk {
  readonly id?: string;
  readonly created?: number;
  readonly object?: string;
  readonly choices?: readonly { readonly delta: { readonly content?: string; readonly role?: string }; readonly finish_reason: string | null }[];
  readonly error?: { readonly code: string; readonly message: string };
}

async function post(body: object): Promise<{ status: number; body: AsyncIterable<Uint8Array> & { destroy(): void; text(): Promise<string> } }> {
  const { statusCode, body: stream } = await request(`${fleet.gatewayUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tiny', messages, ...body }),
    dispatcher,
  });
  return { status: statusCode, body: stream };
}

/** The chunks of a stream, and whether it came to its end. `at` is called once after so many chunks. */
async function read(
  stream: AsyncIterable<Uint8Array>,
  after = -1,
  at: () => Promise<void> = async () => {},
): Promise<{ chunks: Chunk[]; done: boolean }> {
  const decoder = new TextDecoder();
  const chunks: Chunk[] = [];
  let held = '';
  let done = false;
  let called = false;
  for await (const bytes of stream) {
    held += decoder.decode(bytes, { stream: true });
    for (let end = held.indexOf('\n\n'); end >= 0; end = held.indexOf('\n\n')) {
      const data = held.slice('data: '.length, end);
      held = held.slice(end + 2);
      if (data === '[DONE]') done = true;
      else chunks.push(JSON.parse(data));
    }
    if (called || after < 0 || chunks.length < after) continue;
    called = true;
    await at();
  }
  return { chunks, done };
}

const textOf = (chunks: readonly Chunk[]) => chunks.map(({ choices }) => choices?.[0]?.delta.content ?? '').join('');

function expected(count: number): string {
  const { model } = served[0]!.server;
  return model.expected(model.tokens(`<|user|>${messages[0]!.content}\n<|assistant|>`), count).text;
}

const speaking = () => served.find(({ server }) => server.running > 0)!;

test('a stream comes as its server says it', async () => {
  const { status, body } = await post({ stream: true, max_tokens: 30 });
  const { chunks, done } = await read(body);
  expect([status, done, textOf(chunks), chunks.at(-1)!.choices![0]!.finish_reason]).toEqual([200, true, expected(30), 'length']);
  expect(JSON.stringify(chunks)).not.toContain('"usage"');
  expect(chunks.every((chunk) => chunk.choices!.length === 1)).toBe(true);
});

test('a server that is cut off in the middle of a stream: the stream goes on, token by token the same', async () => {
  const { body } = await post({ stream: true, max_tokens: 120 });
  const before = served.map(({ server }) => server.requests.length);
  let cut: Served | undefined;
  const { chunks, done } = await read(body, 30, async () => {
    cut = speaking();
    await cut.listening.close(0);
  });
  expect([done, textOf(chunks)]).toEqual([true, expected(120)]);
  expect(new Set(chunks.map(({ id, created, object }) => JSON.stringify([id, created, object]))).size).toBe(1);
  expect(chunks.filter(({ choices }) => choices?.[0]?.delta.role !== undefined)).toHaveLength(1);
  const other = served.indexOf(cut!) === 0 ? 1 : 0;
  const rest = served[other]!.server.requests.slice(before[other]).find(({ path }) => path === '/v1/completions');
  expect(Array.isArray(rest!.body.prompt)).toBe(true);
  await eventually('the instance of the server that is away is set aside, with why', 5_000, async () => {
    const rows = await fleet.instances();
    return { ok: rows.some(({ setAsideWhy }) => setAsideWhy.includes('Is the server running')), seen: rows.map(({ setAsideWhy }) => setAsideWhy) };
  });
  cut!.listening = await http.serve({ host: '127.0.0.1', port: cut!.port }, cut!.server.handler);
  await eventually('it gets requests again', 3_000, async () => {
    const rows = await fleet.instances();
    return { ok: rows.every(({ setAside }) => setAside === ''), seen: rows.map(({ setAside }) => setAside) };
  });
});

test('a server that gives a request up: it goes on elsewhere; its stop string ends it, because that cannot', async () => {
  const stopped = await post({ stream: true, max_tokens: 60, stop: ['never said'] });
  const reading = read(stopped.body, 10, async () => {
    for (const { server } of served) server.script.endAfter = { tokens: 20, how: 'abort' };
  });
  const { chunks, done } = await reading;
  for (const { server } of served) server.script.endAfter = undefined;
  expect([done, chunks.at(-1)!.error?.code]).toEqual([false, 'cannot_continue']);
});

test('a client that leaves is gone at the server within 100 ms, streaming or not', async () => {
  for (const stream of [true, false]) {
    const aborted = () => served.reduce((sum, { server }) => sum + server.aborted, 0);
    const before = aborted();
    const leaving = new AbortController();
    const answered = request(`${fleet.gatewayUrl}/v1/chat/completions`, {
      ...{ method: 'POST', headers: { 'content-type': 'application/json' }, dispatcher, signal: leaving.signal },
      body: JSON.stringify({ model: 'tiny', messages, stream, max_tokens: 1_500 }),
    });
    answered.then(({ body }) => body.on('error', () => {})).catch(() => {});
    await eventually('a server has it', 5_000, () => ({ ok: speaking() !== undefined, seen: served.map(({ server }) => server.running) }));
    const leftAtMs = performance.now();
    leaving.abort();
    await eventually('it is gone', 5_000, () => ({ ok: aborted() > before, seen: aborted() }));
    expect(performance.now() - leftAtMs).toBeLessThan(150);
  }
});

test('a paused server gets nothing until it goes on', async () => {
  const [paused, other] = served as [Served, Served];
  paused.server.script.paused = true;
  await eventually('the paused one is left alone', 3_000, async () => {
    const rows = await fleet.instances();
    return { ok: rows.some(({ setAsideWhy }) => setAsideWhy.includes('paused')), seen: rows.map(({ setAsideWhy }) => setAsideWhy) };
  });
  const before = other.server.requests.length;
  for (let count = 0; count < 4; count++) expect((await read((await post({ stream: true, max_tokens: 3 })).body)).done).toBe(true);
  expect(other.server.requests.length - before).toBe(4);
  paused.server.script.paused = false;
  await eventually('it gets requests again', 3_000, async () => {
    const rows = await fleet.instances();
    return { ok: rows.every(({ setAside }) => setAside === ''), seen: rows.map(({ setAside }) => setAside) };
  });
});

test('what the server says of a wrong request is what its client reads; what clients may not say never gets there', async () => {
  const answer = { status: 400, body: { error: { message: 'temperature must be non-negative, got -1.0.', code: 400 } } };
  for (const { server } of served) server.script.answer = answer;
  const wrong = await post({ temperature: -1, max_tokens: 5, priority: 3, kv_transfer_params: { do_remote_prefill: true } });
  for (const { server } of served) server.script.answer = undefined;
  expect(wrong.status).toBe(400);
  expect(JSON.parse(await wrong.body.text())).toMatchObject({ error: { ...answer.body.error, code: 'invalid_request' } });
  const texts = served.flatMap(({ server }) => server.requests.map(({ text }) => text));
  expect(texts.some((text) => text.includes('priority') || text.includes('"do_remote_prefill":true'))).toBe(false);
});
