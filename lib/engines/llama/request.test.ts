import { describe, expect, test } from 'vitest';
import { type LlamaRequest, outputLimit, readRequest } from './request.ts';
import { seedOfRequest } from './sampling.ts';

const usual = { temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05 };
const engine = { vocabularySize: 1000, chatTemplate: '{{ messages }}', usual };
const hello = { messages: [{ role: 'user', content: 'Hello' }] };

function read(fields: object, endpoint = 'chat', context = engine) {
  return readRequest('r', endpoint, Buffer.from(JSON.stringify(fields)), context);
}

function taken(fields: object, endpoint = 'chat'): LlamaRequest {
  const request = read(fields, endpoint);
  if ('code' in request) throw new Error(request.message);
  return request;
}

test('a request that says nothing is sampled as is usual here, with a seed from its id', () => {
  expect(taken(hello).sampling).toEqual({
    ...{ temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05, presencePenalty: 0, frequencyPenalty: 0, repetitionPenalty: 1 },
    ...{ seed: seedOfRequest('r'), logitBias: [], ignoreEos: false, grammar: undefined },
  });
});

test('what it says is taken', () => {
  const request = taken({
    ...hello,
    temperature: 0,
    top_p: 0.5,
    top_k: -1,
    min_p: 0,
    seed: -1,
    stop: 'x',
    max_tokens: 5,
    logit_bias: { 7: -100, 8: 2 },
  });
  expect(request).toMatchObject({ stop: ['x'], maxTokens: 5 });
  expect(request.sampling).toMatchObject({ temperature: 0, topP: 0.5, topK: 0, minP: 0, seed: 2 ** 32 - 1 });
  expect(request.sampling.logitBias).toEqual([
    [7, Number.NEGATIVE_INFINITY],
    [8, 2],
  ]);
});

test('content in parts is one text; roles and other fields reach the template', () => {
  const parts = [
    { type: 'text', text: 'a' },
    { type: 'text', text: 'b' },
  ];
  const { prompt } = taken({ messages: [{ role: 'user', name: 'n', content: parts }], chat_template_kwargs: { enable_thinking: false } });
  expect(prompt).toEqual({
    kind: 'chat',
    messages: [{ role: 'user', name: 'n', content: 'ab' }],
    template: { enable_thinking: false },
    continues: false,
  });
});

test('a last message of the assistant is continued when that is asked for', () => {
  const messages = [...hello.messages, { role: 'assistant', content: 'He' }];
  expect(taken({ messages, continue_final_message: true, add_generation_prompt: false }).prompt).toMatchObject({ continues: true });
  expect(read({ ...hello, continue_final_message: true, add_generation_prompt: false })).toMatchObject({ code: 'invalid_request' });
});

test('a completion takes a text, a list of one, or token ids', () => {
  expect(taken({ prompt: 'Once' }, 'completions').prompt).toEqual({ kind: 'text', text: 'Once' });
  expect(taken({ prompt: ['Once'] }, 'completions').prompt).toEqual({ kind: 'text', text: 'Once' });
  expect(taken({ prompt: [1, 2, 3] }, 'completions').prompt).toEqual({ kind: 'tokens', tokens: [1, 2, 3] });
});

describe('is refused with what to do instead', () => {
  test.each<[string, object, string]>([
    ['several choices', { ...hello, n: 2 }, 'leave out n'],
    ['log probabilities', { ...hello, logprobs: true }, 'leave out logprobs'],
    ['an image', { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] }, 'without images'],
    ['tools', { ...hello, tools: [{ type: 'function', function: { name: 'f' } }] }, 'leave out tools'],
    ['a tool that is not there', { ...hello, tool_choice: 'required' }, 'tools has none'],
    ['a regular expression', { ...hello, guided_regex: 'a+' }, 'guided_regex'],
    ['another sampler', { ...hello, mirostat: 1 }, 'leave out mirostat'],
    ['sound', { ...hello, modalities: ['text', 'audio'] }, 'leave out modalities'],
    ['tokens to stop at', { ...hello, stop_token_ids: [1] }, 'takes stop'],
    ['a hand-off of KV', { ...hello, kv_transfer_params: {} }, 'kv_transfer_params'],
    ['a temperature that is none', { ...hello, temperature: 'hot' }, 'temperature must be a number'],
    ['a limit that is none', { ...hello, max_tokens: 0 }, 'positive integer'],
    ['a token that the model has not', { ...hello, logit_bias: { 1000: 1 } }, 'below 1000'],
    ['two kinds of penalties', { ...hello, presence_penalty: 1, repetition_penalty: 1.1 }, 'one kind at a time'],
    ['a seed that is none', { ...hello, seed: 1.5 }, 'seed must be an integer'],
    ['an unknown form', { ...hello, response_format: { type: 'xml' } }, 'json_schema'],
    [
      'a schema that cannot be kept to',
      { ...hello, response_format: { type: 'json_schema', json_schema: { schema: { type: 'string', pattern: 'a' } } } },
      'pattern',
    ],
    ['two forms at once', { ...hello, guided_json: {}, guided_choice: ['a'] }, 'one form'],
    ['no messages', { messages: [] }, 'at least one message'],
    ['a list', [], 'JSON object'],
  ])('%s', (_what, fields, words) => {
    expect(read(fields)).toMatchObject({ code: 'invalid_request', retryable: false, message: expect.stringContaining(words) });
  });

  test('a body that is no JSON', () => {
    expect(readRequest('r', 'chat', Buffer.from('{'), engine)).toMatchObject({ code: 'invalid_json' });
  });

  test('several prompts, and tokens of another model', () => {
    expect(read({ prompt: ['a', 'b'] }, 'completions')).toMatchObject({ message: expect.stringContaining('several requests') });
    expect(read({ prompt: [1, 1000] }, 'completions')).toMatchObject({ message: expect.stringContaining('below 1000') });
  });

  test('a chat with a model that has no template', () => {
    expect(read(hello, 'chat', { ...engine, chatTemplate: '' })).toMatchObject({ message: expect.stringContaining('/v1/completions') });
  });
});

describe('tools', () => {
  const template = '{% if tools %}{{ tools }}{% endif %}';
  const tools = ['a', 'b'].map((name) => ({
    type: 'function',
    function: { name, parameters: { type: 'object', properties: { x: { type: 'integer' } } } },
  }));
  const ask = (choice: unknown, chatTemplate = template, more = {}) =>
    read({ ...hello, tools, tool_choice: choice, ...more }, 'chat', { ...engine, chatTemplate });

  test('that must be called are called by a grammar', () => {
    const request = ask('required') as LlamaRequest;
    expect([request.tools, request.prompt]).toEqual(['forced', expect.objectContaining({ template: { tools } })]);
    expect(request.sampling.grammar).toContain('t1root');
    const named = ask({ type: 'function', function: { name: 'b' } }) as LlamaRequest;
    expect(named.sampling.grammar).not.toContain('\\"a\\"');
  });

  test('that may be called need a form that can be read', () => {
    expect(ask('auto')).toMatchObject({ message: expect.stringContaining('set tool_choice') });
    expect(ask(undefined, `${template}<tool_call>`)).toMatchObject({ tools: 'marked' });
    expect(ask('none')).toMatchObject({ tools: 'none', prompt: { template: {} } });
  });

  test('that are not there, or with another form of the answer, are refused', () => {
    expect(ask({ type: 'function', function: { name: 'c' } })).toMatchObject({ message: expect.stringContaining('one of the functions') });
    expect(ask('required', template, { response_format: { type: 'json_object' } })).toMatchObject({ message: expect.stringContaining('one form') });
  });

  test('called before reach the template with their arguments as they are', () => {
    const messages = [
      ...hello.messages,
      { role: 'assistant', content: null, tool_calls: [{ id: '1', type: 'function', function: { name: 'a', arguments: '{"x":1}' } }] },
    ];
    const { prompt } = ask('auto', `${template}<tool_call>`, { messages }) as LlamaRequest;
    expect(prompt).toMatchObject({ messages: [{}, { content: '', tool_calls: [{ function: { name: 'a', arguments: { x: 1 } } }] }] });
  });
});

test('fields that ask for nothing are harmless', () => {
  const neutral = {
    modalities: ['text'],
    stop_token_ids: [],
    skip_special_tokens: true,
    prediction: null,
    n: 1,
    logprobs: false,
    tools: [],
    tool_choice: 'none',
    user: 'u',
    metadata: {},
    response_format: { type: 'text' },
    stop: null,
  };
  expect(taken({ ...hello, ...neutral }).stop).toEqual([]);
});

test('an answer ends at the context, or at what else limits it', () => {
  expect(outputLimit(100, 256, [undefined, undefined])).toBe(156);
  expect(outputLimit(100, 256, [20, 50])).toBe(20);
  expect(outputLimit(256, 256, [1])).toMatchObject({ code: 'context_length_exceeded' });
  expect(outputLimit(0, 256, [1])).toMatchObject({ code: 'invalid_request' });
});
