import { describe, expect, test } from 'vitest';
import type { ChatTemplate, Model } from './package.ts';
import { openEnded, promptTokens } from './prompt.ts';

/** Tokens are characters. */
const model = {
  tokens: { bos: 1, eos: 2, bosString: '<s>', eosString: '</s>', shouldPrependBosToken: true },
  tokenize: (text: string) => [...text].map((character) => character.charCodeAt(0)),
} as unknown as Model;
const template: ChatTemplate = {
  render: ({ messages, add_generation_prompt: asks }) =>
    `${(messages as { role: string; content: string }[]).map(({ role, content }) => `[${role}]${content.trim()}[end]`).join('')}${asks ? '[assistant]' : ''}`,
};
const textOf = (tokens: number[]) => String.fromCharCode(...tokens.slice(1));
const chat = (content: string, continues = false) => ({ kind: 'chat', messages: [{ role: 'assistant', content }], template: {}, continues }) as const;

test('a chat ends where the answer begins', () => {
  expect(textOf(promptTokens(model, template, chat('Hi')))).toBe('[assistant]Hi[end][assistant]');
});

test('a last message that is continued stays open', () => {
  expect(textOf(promptTokens(model, template, chat('Hi there ', true)))).toBe('[assistant]Hi there');
  expect(() => openEnded('[assistant]HI[end]', [{ content: 'hi' }])).toThrow('cannot be continued');
});

test('a text is the prompt as it is, after the first token of the model', () => {
  expect(promptTokens(model, undefined, { kind: 'text', text: 'ab' })).toEqual([1, 97, 98]);
});

describe('says what is wrong', () => {
  test('a chat with a model that has no template', () => {
    expect(() => promptTokens(model, undefined, chat('Hi'))).toThrow('/v1/completions');
  });

  test('a template that refuses', () => {
    const strict: ChatTemplate = {
      render() {
        throw new Error('roles must alternate');
      },
    };
    expect(() => promptTokens(model, strict, chat('Hi'))).toThrow('does not take these messages: roles must alternate');
  });
});
