import { describe, expect, test } from 'vitest';
import { refusalOfAnswer, refusalOfError } from './answered.ts';

const openai = (message: string, more: object = {}) => JSON.stringify({ error: { message, type: 'x', param: null, code: 400, ...more } });

describe('an answer that is none', () => {
  test.each<[string, number, Record<string, string>, string, object]>([
    [
      'a wrong value',
      400,
      {},
      openai('temperature must be non-negative'),
      { code: 'invalid_request', message: 'temperature must be non-negative', retryable: false },
    ],
    [
      'a wrong value, by FastAPI',
      422,
      {},
      '{"detail":[{"msg":"Field required"}]}',
      { code: 'invalid_request', message: '[{"msg":"Field required"}]' },
    ],
    ['an overlong prompt', 400, {}, openai("This model's maximum context length is 240 tokens."), { code: 'context_length_exceeded' }],
    [
      'the same, by llama-server',
      400,
      {},
      openai('request (9002 tokens) exceeds the available context size', { type: 'exceed_context_size_error' }),
      { code: 'context_length_exceeded' },
    ],
    ['too much to do', 429, { 'retry-after': '2' }, openai('busy'), { code: 'engine_overloaded', retryAfterMs: 2000, retryable: true }],
    ['too much to do, in ms', 429, { 'retry-after-ms': '250', 'retry-after': '1' }, '', { code: 'engine_overloaded', retryAfterMs: 250 }],
    ['not now, with a time', 503, { 'retry-after': '1' }, openai('busy'), { code: 'engine_overloaded', retryAfterMs: 1000 }],
    ['not now', 503, {}, openai('Loading model'), { code: 'engine_unavailable', message: 'http://a: Loading model' }],
    ['a fault', 500, {}, 'boom', { code: 'engine_error', message: 'http://a answers 500: boom', retryable: true }],
    ['a wrong key', 401, {}, openai('Unauthorized'), { code: 'engine_error', message: expect.stringContaining('apiKeyEnv') }],
    [
      'no such model',
      404,
      {},
      openai('The model `x` does not exist.'),
      { code: 'engine_error', message: expect.stringContaining('does not know the model') },
    ],
    ['a body that is too large', 413, {}, '', { code: 'body_too_large', message: 'status 413' }],
  ])('%s', (_what, status, headers, body, refusal) => {
    expect(refusalOfAnswer('http://a', status, headers, body)).toMatchObject(refusal);
  });

  test.each([
    [{ message: 'bad', code: 400 }, 'invalid_request'],
    [{ message: 'Internal server error', code: 500 }, 'engine_error'],
    [{ message: 'no code' }, 'engine_error'],
    ['a text', 'engine_error'],
  ])('in the middle of a stream: %j', (error, code) => {
    expect(refusalOfError('http://a', error).code).toBe(code);
  });
});
