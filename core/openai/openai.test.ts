import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { continuationNeeds, unmetNeed } from './continuation.ts';
import { errorBody, errorHeaders } from './error-body.ts';
import { clientRequestId, clientTrace, duration, limitHeaders, presentedKey, readWishes } from './headers.ts';
import { type InvalidBody, type RequestBody, readRequestBody } from './request-body.ts';
import { serviceClass, usedTier } from './service-class.ts';
import { withoutFields } from './without-fields.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (data: Uint8Array) => new TextDecoder().decode(data);
const read = (endpoint: 'chat' | 'completions', body: unknown) => readRequestBody(endpoint, bytes(JSON.stringify(body)), ['kv_transfer_params']);
const chat = (fields: object = {}) => read('chat', { model: 'm', messages: [{ role: 'user', content: 'x'.repeat(400) }], ...fields }) as RequestBody;

describe('reading a body', () => {
  test('finds what Switchyard must know', () => {
    expect(
      chat({ stream: true, stream_options: { include_usage: true }, max_completion_tokens: 9, max_tokens: 5, service_tier: 'flex' }),
    ).toMatchObject({
      model: 'm',
      streams: true,
      includeUsage: true,
      maxTokens: 9,
      serviceTier: 'flex',
      forbiddenFields: [],
    });
  });

  test('estimates the prompt from its text', () => {
    expect(chat().promptTokens).toBeGreaterThanOrEqual(100);
    expect(chat().promptTokens).toBeLessThan(110);
    const parts = [
      { type: 'text', text: 'x'.repeat(400) },
      { type: 'image_url', image_url: { url: 'data:...' } },
    ];
    expect(chat({ messages: [{ role: 'user', content: parts }] }).promptTokens).toBe(chat().promptTokens);
    expect(read('completions', { model: 'm', prompt: [1, 2, 3] })).toMatchObject({ promptTokens: 3 });
    expect(read('completions', { model: 'm', prompt: ['abcdefgh'] })).toMatchObject({ promptTokens: 2 });
  });

  test('two prompts with the same beginning have the same leading text', () => {
    const history = [{ role: 'system', content: 'be brief' }];
    const one = chat({ messages: [...history, { role: 'user', content: 'a' }] }).leadingText;
    const two = chat({ messages: [...history, { role: 'user', content: 'b' }] }).leadingText;
    expect(one.slice(0, -1)).toBe(two.slice(0, -1));
  });

  test.each([
    ['chat', { messages: [{ role: 'user', content: 'x' }] }, 'model'],
    ['chat', { model: 'm' }, 'messages'],
    ['chat', { model: 'm', messages: ['x'] }, 'messages'],
    ['chat', { model: 'm', messages: [{ role: 'user', content: 'x' }], stream: 'yes' }, 'stream'],
    ['chat', { model: 'm', messages: [{ role: 'user', content: 'x' }], max_tokens: 1.5 }, 'max_tokens'],
    ['chat', { model: 'm', messages: [{ role: 'user', content: 'x' }], max_completion_tokens: 0 }, 'max_completion_tokens'],
    ['completions', { model: 'm' }, 'prompt'],
    ['completions', { model: 'm', prompt: ['a', 'b'] }, 'prompt'],
  ] as const)('%s %j names the parameter that is wrong', (endpoint, body, param) => {
    expect(read(endpoint, body) as InvalidBody).toMatchObject({ code: 'invalid_request', param });
  });
});

describe('taking fields out', () => {
  test.each([
    ['first', '{"a":{"x":[1,{"}":"]"}]}, "b":1}', '{"b":1}'],
    ['last', '{"b":1 , "a":"\\"}" }', '{"b":1 }'],
    ['in the middle', '{ "b":1,"a":null,\n"c" : 2}', '{ "b":1,"c" : 2}'],
    ['alone', ' { "a" : 1 } ', ' {  } '],
    ['twice', '{"a":1,"b":2,"a":3}', '{"b":2}'],
    ['escaped', '{"\\u0061":1,"b":2}', '{"b":2}'],
    ['nested only', '{"b":{"a":1}}', '{"b":{"a":1}}'],
  ])('%s', (_where, before, after) => {
    expect(text(withoutFields(bytes(before), ['a']))).toBe(after);
  });

  test('takes no longer for each of many members', () => {
    const members = Array.from({ length: 200_000 }, (_, n) => `"${n}":${n}`).join(',');
    const before = performance.now();
    expect(text(withoutFields(bytes(`{"a":1,${members}}`), ['a']))).toBe(`{${members}}`);
    expect(performance.now() - before).toBeLessThan(5_000);
  });

  test('any object keeps its other members, byte for byte the same values', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom('a', 'b', 'c', 'kv', 'é"\\'), fc.jsonValue()), fc.nat(3), (object, indent) => {
        const kept = Object.fromEntries(Object.entries(object).filter(([name]) => name !== 'kv'));
        const result = text(withoutFields(bytes(JSON.stringify(object, null, indent)), ['kv']));
        expect(JSON.stringify(JSON.parse(result))).toBe(JSON.stringify(kept));
      }),
    );
  });
});

describe('what cannot be continued from its tokens', () => {
  test.each([
    [{}, []],
    [{ n: 1, temperature: 0.7, presence_penalty: 0, response_format: { type: 'text' }, stop: [] }, []],
    [{ n: 2 }, ['choices']],
    [{ response_format: { type: 'json_schema' } }, ['guided']],
    [{ guided_regex: 'a*', frequency_penalty: 0.5 }, ['guided', 'penalties']],
    [{ stop: 'END', logprobs: true }, ['logprobs', 'stop']],
  ])('%j needs %j', (body, needs) => {
    expect(continuationNeeds(body)).toEqual(needs);
  });

  test('is what the engine does not declare', () => {
    expect(unmetNeed(['guided', 'stop'], ['continue:stop'])).toBe('guided');
    expect(unmetNeed(['guided', 'stop'], ['continue:*'])).toBeUndefined();
  });
});

describe('the service tier', () => {
  const objectives = { urgent: { sloClass: 'interactive', priority: 9 } } as const;

  test.each([
    ['', '', 'standard', 0, ''],
    ['auto', '', 'standard', 0, 'default'],
    ['scale', '', 'standard', 1, 'scale'],
    ['fast', '', 'interactive', 2, 'priority'],
    ['flex', '', 'batch', -1, 'flex'],
    ['constructor', '', 'standard', 0, 'default'],
    ['flex', 'urgent', 'interactive', 9, 'default'],
    ['flex', 'nobody knows it', 'batch', -1, 'flex'],
    ['', 'batch', 'batch', 0, ''],
  ] as const)('"%s" with objective "%s" is served as %s with priority %d, and the answer says "%s"', (tier, objective, sloClass, priority, said) => {
    expect(serviceClass(tier, objective, objectives)).toMatchObject({ sloClass, priority });
    expect(usedTier(tier, objective, objectives)).toBe(said);
  });
});

describe('errors and headers', () => {
  test('an error has all four keys', () => {
    expect(JSON.parse(errorBody({ code: 'rate_limit_exceeded', message: 'slow down' }))).toEqual({
      error: { message: 'slow down', type: 'rate_limit_error', param: null, code: 'rate_limit_exceeded' },
    });
  });

  test('clients are told for how long to wait, a minute at most, or not to try again', () => {
    expect(errorHeaders({ code: 'rate_limit_exceeded', message: '', retryAfterMs: 1_200 })).toMatchObject({
      'retry-after-ms': '1200',
      'retry-after': '2',
    });
    expect(errorHeaders({ code: 'queue_full', message: '', retryAfterMs: 1e9 })['retry-after']).toBe('60');
    expect(errorHeaders({ code: 'insufficient_quota', message: '', retryAfterMs: 1_000 })).toEqual({
      'content-type': 'application/json',
      'x-should-retry': 'false',
    });
    expect(errorHeaders({ code: 'invalid_request', message: '' })['x-should-retry']).toBeUndefined();
  });

  test('a client’s request id is sent back only when it is harmless', () => {
    expect(clientRequestId({ 'x-request-id': 'abc-1' })).toBe('abc-1');
    expect(clientRequestId({ 'x-request-id': 'a\r\nset-cookie: x' })).toBeUndefined();
    expect(clientRequestId({ 'x-request-id': 'x'.repeat(200) })).toBeUndefined();
  });

  test('keys come as a bearer token or as x-api-key', () => {
    expect(presentedKey({ authorization: 'bearer  sk-1' })).toBe('sk-1');
    expect(presentedKey({ 'x-api-key': 'sk-2' })).toBe('sk-2');
    expect(presentedKey({ authorization: 'Basic x' })).toBeUndefined();
  });

  test('only a valid trace is continued', () => {
    const good = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    expect(clientTrace({ traceparent: good })).toEqual({ traceparent: good });
    for (const bad of ['', 'x', good.replace('0af7651916cd43dd8448eb211c80319c', '0'.repeat(32)), good.replace(/^00/, 'ff')]) {
      expect(clientTrace({ traceparent: bad })).toBeUndefined();
    }
  });

  test('senseless wishes count as none', () => {
    expect(readWishes({ 'x-slo-ttft-ms': '-1', 'x-slo-tpot-ms': 'soon', 'x-session-id': 'x'.repeat(500) })).toEqual({
      objective: '',
      fairnessId: 'default-flow',
      ttftSloMs: 0,
      tpotSloMs: 0,
      sessionId: '',
    });
  });

  test('limits are written as OpenAI writes them', () => {
    expect([0, 20, 1_500, 360_000].map(duration)).toEqual(['0ms', '20ms', '1.5s', '6m0s']);
    expect(limitHeaders(undefined)).toEqual({});
  });
});
