// The adapter of servers with the OpenAI API against scripted ones: whose bytes go where, how streams end and fail, what is found
// out about a server, and how requests go on that another server began.
import { describe, expect, test } from 'vitest';
import { crcOf } from '../../lib/engines/openai/resume.ts';
import type { GenerateRequest } from '../../lib/ports/engines.ts';
import type { Kind } from '../support/openai-server/dialects.ts';
import { OpenaiBench, type Said } from '../support/openai-server/openai-bench.ts';
import { OpenaiServer } from '../support/openai-server/openai-server.ts';

const kinds: readonly Kind[] = ['vllm', 'sglang', 'llama-server', 'generic'];
const endpoints = ['chat', 'completions'] as const;

/** What the server says to a client of its own, with these fields. */
async function asked(bench: OpenaiBench, endpoint: 'chat' | 'completions', requestId: string, fields: Record<string, unknown>): Promise<string> {
  const prompt =
    endpoint === 'completions' ? { prompt: 'Tell me about the sea' } : { messages: [{ role: 'user', content: 'Tell me about the sea' }] };
  const path = endpoint === 'completions' ? '/v1/completions' : '/v1/chat/completions';
  let text: string | undefined;
  const body = JSON.stringify({ model: 'tiny', stream: true, ...prompt, ...fields });
  void bench.http.fetch(`http://127.0.0.1:8000${path}`, { body, headers: { 'x-request-id': requestId } }).then(async (reply) => {
    text = await reply.text();
  });
  await bench.clock.until(() => text !== undefined, 60_000);
  return text!;
}

/** Ids of servers that make their own up. */
const withoutIds = (text: string) => text.replaceAll(/"id":"[^"]*"/g, '"id":"-"');

describe.each(kinds)('the bytes of %s', (kind) => {
  test.each(endpoints)('of a stream of %s are those that a client of its own would get', async (endpoint) => {
    for (const includeUsage of [false, true]) {
      const bench = await OpenaiBench.start({ kind });
      const fields = { max_tokens: 9, ...(includeUsage ? { stream_options: { include_usage: true } } : {}) };
      bench.open('r', fields, { endpoint, includeUsage });
      const { data } = await bench.ended('r');
      const own = await asked(bench, endpoint, 'r', fields);
      expect(withoutIds(`${data}data: [DONE]\n\n`)).toBe(withoutIds(own));
    }
  });

  test('of an answer in one piece too', async () => {
    const bench = await OpenaiBench.start({ kind });
    bench.open('r', { max_tokens: 9 }, { clientStreams: false });
    const { end } = await bench.ended('r');
    const own = await asked(bench, 'chat', 'r', { max_tokens: 9, stream: false });
    expect(withoutIds(Buffer.from(end.finalBody).toString())).toBe(withoutIds(own));
    expect(end).toMatchObject({ finishReason: 'length', usage: { outputTokens: 9 } });
  });

  test('are the same however they are cut, with comments between them and other line ends', async () => {
    const whole = await OpenaiBench.start({ kind });
    whole.open('r', { max_tokens: 9 });
    const { data, text } = await whole.ended('r');
    for (const pieceBytes of [1, 7]) {
      const bench = await OpenaiBench.start({ kind });
      Object.assign(bench.server.script, { pieceBytes, pings: true });
      bench.open('r', { max_tokens: 9 });
      const said = await bench.ended('r');
      expect([said.data, said.text]).toEqual([data, text]);
      bench.server.script.lineEnd = '\r\n';
      bench.open('s', { max_tokens: 9 });
      const other = await bench.ended('s');
      expect([withoutIds(other.data.replaceAll('\r\n', '\n')), other.text]).toEqual([withoutIds(data), text]);
    }
  });

  test("of the body are the client's, with what was added at its end", async () => {
    const bench = await OpenaiBench.start({ kind });
    const odd =
      '{ "model" : "tiny" ,"stream":true, "messages":[{"role":"user","content":"\\u00e9\\ud83d\\ude00 é"}], "seed":12345678901234567890, "x":1,"x":1.0e+2,"max_tokens":3';
    bench.open('r', {}, { body: Buffer.from(`${odd} }`) });
    await bench.ended('r');
    const ids = kind === 'vllm' ? '"return_token_ids":true,' : '';
    expect(bench.server.requests.at(-1)!.text).toBe(`${odd},${ids}"stream_options":{"include_usage":true} }`);
  });
});

test('the model has the name that its server knows, on the way in only', async () => {
  const bench = await OpenaiBench.start({ model: 'org/tiny' }, {}, { model: 'tiny' });
  bench.open('r', { max_tokens: 3, messages: [{ role: 'user', content: '"model":"tiny"' }] });
  const { chunks } = await bench.ended('r');
  expect(bench.server.requests.at(-1)!.body).toMatchObject({ model: 'org/tiny', messages: [{ content: '"model":"tiny"' }] });
  expect(chunks.map(({ model }) => model)).toEqual(chunks.map(() => 'tiny'));
});

test('a client that asks for token ids gets them', async () => {
  const bench = await OpenaiBench.start();
  bench.open('r', { max_tokens: 3, return_token_ids: true });
  const { chunks, ids } = await bench.ended('r');
  expect(chunks.flatMap(({ choices }) => choices[0].token_ids ?? [])).toEqual(ids);
  expect(chunks[0].prompt_token_ids.length).toBeGreaterThan(0);
});

test('nothing is said before the first token, and half a character waits for the other half', async () => {
  const bench = await OpenaiBench.start({ halves: true });
  bench.open('r', { max_tokens: 40 });
  const said = await bench.ended('r');
  const { model } = bench.server;
  expect(said.events[0]!.tokenIds).not.toHaveLength(0);
  for (const { tokenIds, text } of said.events) expect(Buffer.concat(tokenIds.map((id) => model.bytes(id))).toString()).toBe(text);
  expect(said.text).toContain('🌊');
  expect(said.events.some(({ tokenIds }) => tokenIds.length === 2)).toBe(true);
});

test("without a limit of the client the gateway's holds, unless the prompt would not fit with it", async () => {
  const bench = await OpenaiBench.start();
  bench.open('r', {}, { maxOutputTokens: 5 });
  expect((await bench.ended('r')).ids).toHaveLength(5);
  const content = 'word '.repeat(80);
  bench.open('long', { messages: [{ role: 'user', content }] }, { maxOutputTokens: 500 });
  const { end, ids } = await bench.ended('long');
  expect([end.finishReason, ids.length > 0, ids.length < 240]).toEqual(['length', true, true]);
});

describe('a stream fails, and never ends by halves, when the server', () => {
  test.each([
    ['gives the request up', 'abort', 'engine_unavailable'],
    ['ends it without a word', 'silence', 'engine_unavailable'],
    ['ends in the middle of an event', 'half', 'engine_unavailable'],
    ['is cut off', 'cut', 'engine_unavailable'],
    ['says that it failed', 'error', 'engine_error'],
  ] as const)('%s', async (_what, how, code) => {
    for (const clientStreams of [true, false]) {
      for (const tokens of [0, 3]) {
        if (!clientStreams && how === 'error') continue;
        const bench = await OpenaiBench.start();
        bench.server.script.endAfter = { tokens, how };
        bench.open('r', { max_tokens: 20 }, { clientStreams });
        const { end, ids } = await bench.ended('r');
        const oneOf = clientStreams ? [code] : [code, 'engine_error'];
        expect(end).toMatchObject({ error: { code: expect.toBeOneOf(oneOf), retryable: true }, finishReason: '' });
        expect(ids).toHaveLength(clientStreams ? tokens : 0);
        expect(bench.engine.size).toBe(0);
      }
    }
  });

  test.each([
    ['is too busy', { status: 429, headers: { 'retry-after': '3' }, body: { error: { message: 'busy' } } }, 'engine_overloaded', 3000],
    ['is not ready', { status: 503, body: { error: { message: 'Loading model' } } }, 'engine_unavailable', 0],
    ['has a fault', { status: 500, body: { error: { message: 'boom' } } }, 'engine_error', 0],
  ])('%s', async (_what, answer, code, retryAfterMs) => {
    const bench = await OpenaiBench.start();
    bench.server.script.answer = answer;
    bench.open('r');
    expect((await bench.ended('r')).end.error).toMatchObject({ code, retryable: true, retryAfterMs });
  });

  test("finds fault with the request: that is the client's, in the server's words", async () => {
    const bench = await OpenaiBench.start();
    bench.server.script.answer = { status: 400, body: { error: { message: 'temperature must be non-negative', code: 400 } } };
    bench.open('r');
    expect((await bench.ended('r')).end.error).toMatchObject({
      code: 'invalid_request',
      message: 'temperature must be non-negative',
      retryable: false,
    });
  });
});

test('whoever is cancelled is gone at the server at once, waiting, in prefill and in decode', async () => {
  const bench = await OpenaiBench.start({ stepMs: 20 });
  for (const id of ['a', 'b', 'c', 'd', 'waiting']) bench.open(id, { max_tokens: 100 });
  await bench.clock.advance(10);
  bench.engine.cancel('a', 1);
  await bench.clock.until(() => bench.said('b').length > 3, 10_000);
  bench.engine.cancel('b', 1);
  bench.engine.cancel('waiting', 1);
  await bench.clock.advance(0);
  expect([bench.server.aborted, bench.server.running, bench.engine.size]).toEqual([3, 2, 2]);
});

test('an answer in one piece that takes long says that it is alive', async () => {
  const bench = await OpenaiBench.start();
  bench.server.script.stepMs = 1000;
  bench.open('r', { max_tokens: 30 }, { clientStreams: false });
  const { events, end } = await bench.ended('r');
  expect(events.filter((event) => event !== end).every(({ tokenIds, data, error }) => tokenIds.length + data.length === 0 && !error)).toBe(true);
  expect(events.length).toBeGreaterThan(4);
});

describe('what is found out about a server', () => {
  test.each<[Kind, string, string[]]>([
    ['vllm', 'vllm 0.32.0', ['token_ids', 'recompute', 'continue:text', 'metrics', 'prefix_cache', 'pause']],
    ['sglang', 'sglang 0.5.9', ['token_ids', 'continue:text', 'metrics', 'prefix_cache']],
    ['llama-server', 'llama-server b6600-abc', ['continue:text', 'metrics', 'prefix_cache', 'slots']],
    ['generic', '', []],
  ])('%s', async (kind, software, supports) => {
    const bench = await OpenaiBench.start({ kind });
    expect([...bench.engine.supports]).toEqual(supports);
    expect(bench.engine.status()).toMatchObject({ software, profile: kind, maxContextTokens: 240, maxRunning: 4 });
  });

  test('whether it takes our key, and knows the model', async () => {
    const none = await OpenaiBench.start({ apiKey: 'secret' });
    expect(none.engine.unfit()).toMatchObject({ code: 'engine_error', message: expect.stringContaining('apiKeyEnv') });
    const right = await OpenaiBench.start({ apiKey: 'secret' }, {}, { apiKey: 'secret' });
    expect(right.engine.unfit()).toBeUndefined();
    const other = await OpenaiBench.start({}, { model: 'large' });
    expect(other.engine.unfit()).toMatchObject({ message: expect.stringContaining('serves tiny, not large') });
  });

  test('its load, and what others give it', async () => {
    const bench = await OpenaiBench.start({ stepMs: 50 });
    expect(bench.engine.status()).toMatchObject({ running: 0, totalBlocks: 240, freeBlocks: 240, blockTokens: 4 });
    void bench.http.fetch('http://127.0.0.1:8000/v1/completions', {
      body: JSON.stringify({ model: 'tiny', prompt: 'x'.repeat(160), max_tokens: 100 }),
    });
    bench.open('r', { max_tokens: 100 });
    await bench.clock.advance(1500);
    const { running, freeBlocks, sequences, loadAtMs } = bench.engine.status();
    expect([running, sequences.length, bench.clock.now() - loadAtMs! < 1000]).toEqual([2, 1, true]);
    expect(freeBlocks).toBeLessThan(240 - 10 - sequences[0]!.blocks);
  });

  test('closed while it is asked, it is asked nothing more', async () => {
    const bench = await OpenaiBench.start({}, {}, { away: true });
    await bench.appear();
    await bench.clock.until(() => bench.server.requests.length > 0, 5_000);
    bench.engine.close();
    await bench.clock.advance(100);
    const { asked } = bench.server;
    await bench.clock.advance(10_000);
    expect(bench.server.asked).toBe(asked);
  });

  test('metrics that are too old are not relied on', async () => {
    const bench = await OpenaiBench.start();
    await bench.vanish();
    await bench.clock.advance(10_000);
    expect(bench.engine.status().loadAtMs).toBeUndefined();
  });
});

describe('a server that takes no requests is left alone, with the reason, and used again within a second when it', () => {
  const open = (bench: OpenaiBench) => bench.open('r', { max_tokens: 2 });

  test('is paused', async () => {
    const bench = await OpenaiBench.start();
    bench.server.script.paused = true;
    await bench.clock.advance(600);
    expect(bench.engine.unfit()).toMatchObject({ code: 'engine_unavailable', message: expect.stringContaining('paused') });
    expect(open(bench)).toMatchObject({ code: 'engine_unavailable', retryable: true });
    bench.server.script.paused = false;
    await bench.clock.advance(1000);
    expect(open(bench)).toBeUndefined();
  });

  test.each(['/metrics', '/health'])('is paused, and never answers %s', async (path) => {
    const bench = await OpenaiBench.start();
    bench.server.script.silentPath = path;
    await bench.clock.advance(20_000);
    expect(bench.engine.unfit()).toBeUndefined();
    bench.server.script.paused = true;
    await bench.clock.advance(600);
    expect(bench.engine.unfit()).toMatchObject({ message: expect.stringContaining('paused') });
    bench.server.script.paused = false;
    await bench.clock.advance(1000);
    expect(open(bench)).toBeUndefined();
  });

  test('is paused, however seldom it is asked when it is well', async () => {
    const bench = await OpenaiBench.start({}, { pollMs: 10_000 });
    bench.server.script.paused = true;
    await bench.clock.advance(11_000);
    expect(bench.engine.unfit()).toMatchObject({ message: expect.stringContaining('paused') });
    bench.server.script.paused = false;
    await bench.clock.advance(1000);
    expect(open(bench)).toBeUndefined();
  });

  test('is dead', async () => {
    const bench = await OpenaiBench.start();
    bench.server.script.dead = true;
    await bench.clock.advance(600);
    expect(bench.engine.unfit()).toMatchObject({ message: expect.stringContaining('503') });
    expect(await probed(bench)).toMatchObject({ code: 'engine_unavailable' });
    bench.server.script.dead = false;
    await bench.clock.advance(1000);
    expect(open(bench)).toBeUndefined();
  });

  test('is gone, and comes back as something else', async () => {
    const bench = await OpenaiBench.start();
    await bench.vanish();
    await bench.clock.advance(600);
    expect(bench.engine.unfit()).toMatchObject({ message: expect.stringContaining('Is the server running') });
    bench.server = new OpenaiServer({ kind: 'llama-server', clock: bench.clock });
    await bench.appear();
    await bench.clock.advance(1000);
    expect(bench.engine.unfit()).toBeUndefined();
    expect([bench.engine.supports.has('token_ids'), bench.engine.supports.has('slots')]).toEqual([false, true]);
  });

  test('is another process than it was a moment ago', async () => {
    const bench = await OpenaiBench.start();
    await bench.vanish();
    bench.server = new OpenaiServer({ kind: 'vllm', clock: bench.clock, devMode: false });
    bench.server.restarted();
    await bench.appear();
    await bench.clock.advance(1000);
    expect([bench.engine.unfit(), bench.engine.supports.has('pause')]).toEqual([undefined, false]);
  });

  test('was not there at all when it was registered', async () => {
    const bench = await OpenaiBench.start({}, {}, { away: true });
    expect(bench.engine.unfit()).toMatchObject({ code: 'engine_unavailable' });
    await bench.appear();
    await bench.clock.advance(1000);
    expect(open(bench)).toBeUndefined();
  });

  test('asked too much, lets requests wait, and no more than may', async () => {
    const bench = await OpenaiBench.start();
    const answers = Array.from({ length: 9 }, (_, index) => bench.open(`r${index}`, { max_tokens: 5 })?.code);
    expect(answers).toEqual([...Array(8).fill(undefined), 'queue_full']);
  });
});

async function probed(bench: OpenaiBench): Promise<unknown> {
  let answer: { said: unknown } | undefined;
  void bench.engine.probe().then((said) => {
    answer = { said };
  });
  await bench.clock.until(() => answer !== undefined, 5_000);
  return answer!.said;
}

describe('a request that another server began', () => {
  const rest = (said: Said, cut: number, more: Partial<GenerateRequest> = {}): Partial<GenerateRequest> => {
    const events = said.events.slice(0, cut);
    const resumeTokenIds = events.flatMap(({ tokenIds }) => tokenIds);
    const pieces = events.reduce((sum, { pieces }) => sum + (pieces?.count ?? 0), 0);
    const resumeText = events.map(({ text }) => text).join('');
    return { epoch: 2, resumeTokenIds, resumeText, nextIndex: resumeTokenIds.length + pieces, carry: said.carry!, ...more };
  };

  test.each(endpoints)('goes on token by token the same, in the words of the stream that the client has (%s)', async (endpoint) => {
    const a = await OpenaiBench.start({ halves: true });
    a.server.restarted();
    a.open('r', { max_tokens: 30 }, { endpoint });
    const whole = await a.ended('r');
    for (const cut of [1, 9, whole.events.length - 1]) {
      const b = await OpenaiBench.start({ halves: true });
      b.open('r', { max_tokens: 30 }, rest(whole, cut, { endpoint, includeUsage: true }));
      const said = await b.ended('r', 2);
      const before = whole.events.slice(0, cut);
      expect([...before.flatMap(({ tokenIds }) => tokenIds), ...said.ids]).toEqual(whole.ids);
      expect(before.map(({ text }) => text).join('') + said.text).toBe(whole.text);
      const head = ({ id, object, created, model }: Record<string, unknown>) => ({ id, object, created, model });
      expect(said.chunks.map(head)).toEqual(said.chunks.map(() => head(whole.chunks.at(-1))));
      expect(said.data).not.toContain('"role"');
      expect(said.data).not.toContain('token_ids":[');
      const usage = { prompt_tokens: whole.end.usage!.promptTokens, completion_tokens: 30 };
      expect(said.chunks.at(-1)).toMatchObject({ choices: [], usage });
      expect(said.end).toMatchObject({ finishReason: 'length', usage: { promptTokens: usage.prompt_tokens, outputTokens: 30 } });
      const shown = said.chunks.map(({ choices }) => choices[0]?.delta?.content ?? choices[0]?.text ?? '').join('');
      expect(shown).toBe(said.text);
    }
  });

  test('ends at once when all was said', async () => {
    const a = await OpenaiBench.start();
    a.open('r', { max_tokens: 5 });
    const whole = await a.ended('r');
    a.open('r', { max_tokens: 5 }, rest(whole, whole.events.length));
    const { end, data } = await a.ended('r', 2);
    expect(end).toMatchObject({ finishReason: 'length', index: 5, usage: { outputTokens: 5 } });
    expect(JSON.parse(data.slice(6))).toMatchObject({ id: whole.chunks[0].id, choices: [{ delta: {}, finish_reason: 'length' }] });
  });

  test('does not go on where its prompt is read as other tokens', async () => {
    const a = await OpenaiBench.start();
    a.open('r', { max_tokens: 5 });
    const whole = await a.ended('r');
    expect(whole.carry).toMatchObject({ answerId: 'chatcmpl-r', model: 'tiny', promptTokens: whole.end.usage!.promptTokens });
    const carry = { ...whole.carry!, promptCrc: crcOf([1, 2, 3]) };
    a.open('r', { max_tokens: 5 }, rest(whole, 2, { carry }));
    expect((await a.ended('r', 2)).end.error).toMatchObject({
      code: 'cannot_continue',
      retryable: false,
      message: expect.stringContaining('chat template'),
    });
  });

  test.each(['reasoning', 'tools'] as const)('does not go on in the middle of its %s', async (phase) => {
    const a = await OpenaiBench.start();
    a.open('r', { max_tokens: 5 });
    const whole = await a.ended('r');
    a.open('r', { max_tokens: 5 }, rest(whole, 2, { carry: { ...whole.carry!, phase } }));
    expect((await a.ended('r', 2)).end.error).toMatchObject({ code: 'cannot_continue' });
  });

  test.each(['sglang', 'llama-server'] as const)('goes on from its text where %s gives no more', async (kind) => {
    const a = await OpenaiBench.start({ kind });
    a.open('r', { max_tokens: 12 });
    const whole = await a.ended('r');
    expect([whole.ids, whole.pieces]).toEqual([[], 12]);
    const b = await OpenaiBench.start({ kind });
    b.open('r', { max_tokens: 12 }, rest(whole, 5, { includeUsage: true }));
    const said = await b.ended('r', 2);
    expect(b.server.requests.at(-1)!.body).toMatchObject({ continue_final_message: true, add_generation_prompt: false, max_tokens: 7 });
    expect(b.server.requests.at(-1)!.body.messages).toMatchObject([
      { role: 'user' },
      {
        role: 'assistant',
        content: whole.events
          .slice(0, 5)
          .map(({ text }) => text)
          .join(''),
      },
    ]);
    expect([said.pieces, said.events[0]!.index]).toEqual([7, 5]);
    expect(said.data).not.toContain('"role"');
    expect(said.chunks.every(({ id, created }) => id === whole.chunks[0].id && created === whole.chunks[0].created)).toBe(true);
    expect(said.end.usage).toMatchObject({ outputTokens: 12 });
  });

  test('of a chat does not go on at a server of which nothing is known', async () => {
    const a = await OpenaiBench.start({ kind: 'generic' });
    a.open('r', { max_tokens: 12 });
    const whole = await a.ended('r');
    a.open('r', { max_tokens: 12 }, rest(whole, 5));
    expect((await a.ended('r', 2)).end.error).toMatchObject({ code: 'cannot_continue' });
  });
});
