import { describe, expect, test } from 'vitest';
import { limitsOf, type ParsedPrompt, parsePrompt, promptTextOf } from './prompt.ts';
import { naturalLength, tokenize } from './token-function.ts';

const chat = (more: Record<string, unknown> = {}) => ({ messages: [{ role: 'user', content: 'Hi' }], ...more });
const parsed = (body: unknown, endpoint: 'chat' | 'completions' = 'chat'): ParsedPrompt => {
  const prompt = parsePrompt(endpoint, body);
  if ('code' in prompt) throw new Error(prompt.code);
  return prompt;
};

describe('prompt text', () => {
  test.each([
    [
      'messages with their roles',
      'chat',
      {
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: 'Hi' },
        ],
      },
      '<|system|>Be brief.\n<|user|>Hi\n<|assistant|>',
    ],
    [
      'text parts',
      'chat',
      { messages: [{ role: 'user', content: [{ type: 'text', text: 'a' }, { type: 'image_url' }, { type: 'text', text: 'b' }] }] },
      '<|user|>ab\n<|assistant|>',
    ],
    ['a message without content', 'chat', { messages: [{ role: 'assistant', content: null }] }, '<|assistant|>\n<|assistant|>'],
    ['a text prompt', 'completions', { prompt: 'Once' }, 'Once'],
    ['a list of one prompt', 'completions', { prompt: ['Once'] }, 'Once'],
    ['a list of two prompts', 'completions', { prompt: ['Once', 'Twice'] }, undefined],
    ['no messages', 'chat', { messages: [] }, undefined],
    ['something else', 'chat', 7, undefined],
  ] as const)('of %s', (_name, endpoint, body, text) => {
    expect(promptTextOf(endpoint, body)).toBe(text);
  });
});

describe('reading a body', () => {
  test('takes the newer name of the limit before the older one', () => {
    expect(parsed(chat({ max_tokens: 9, max_completion_tokens: 7 })).maxTokens).toBe(7);
    expect(parsed(chat({ max_tokens: 9 })).maxTokens).toBe(9);
    expect(parsed(chat({ max_tokens: null })).maxTokens).toBeUndefined();
  });

  test('takes token ids as they are', () => {
    expect(parsed({ prompt: [5, 6, 7] }, 'completions').tokenIds).toEqual([5, 6, 7]);
  });

  test('takes one or several stop strings', () => {
    expect(parsed(chat({ stop: 'end' })).stop).toEqual(['end']);
    expect(parsed(chat({ stop: ['a', '', 'b'] })).stop).toEqual(['a', 'b']);
    expect(parsed(chat({ stop: null })).stop).toEqual([]);
  });

  test.each([
    ['an empty prompt', 'completions', { prompt: '' }],
    ['no prompt', 'completions', {}],
    ['a list', 'chat', []],
    ['a limit of zero', 'chat', chat({ max_tokens: 0 })],
    ['a limit of 1.5', 'chat', chat({ max_tokens: 1.5 })],
    ['a stop that is no text', 'chat', chat({ stop: ['a', 3] })],
    ['too many stops', 'chat', chat({ stop: Array.from({ length: 17 }, String) })],
    ['two choices', 'chat', chat({ n: 2 })],
  ] as const)('refuses %s', (_name, endpoint, body) => {
    expect(parsePrompt(endpoint, body)).toMatchObject({ code: 'invalid_request' });
  });
});

describe('limits', () => {
  const tokenIds = tokenize('hello');
  const natural = naturalLength('m', tokenIds);

  test.each([
    ['the client’s limit', 40, 1000, 40, 'length'],
    ['the client’s limit within the context', 40, tokenIds.length + 10, 10, 'length'],
    ['its own end', undefined, 1000, natural, 'stop'],
    ['its own end within the context', undefined, tokenIds.length + 3, 3, 'length'],
  ] as const)('%s', (_name, maxTokens, context, maxOutputTokens, endReason) => {
    expect(limitsOf('m', { tokenIds, maxTokens, stop: [] }, context)).toEqual({ maxOutputTokens, endReason });
  });
});
