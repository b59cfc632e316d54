import { describe, expect, test } from 'vitest';
import { type ContinuationNeed, continuationNeeds, unmetNeed } from './continuation.ts';

const user = { role: 'user', content: 'Hi' };
const tools = [{ type: 'function', function: { name: 'weather' } }];

describe('needs', () => {
  test.each<[string, Record<string, unknown>, ContinuationNeed[]]>([
    ['nothing beyond its tokens', { messages: [user], temperature: 0.7, seed: 7, top_p: 0.9, top_k: 4, min_p: 0.1, logit_bias: { 5: -100 } }, []],
    ['two answers', { n: 2 }, ['choices']],
    ['the best of three', { best_of: 3 }, ['choices']],
    ['one answer', { n: 1, best_of: 1 }, []],
    ['a schema', { response_format: { type: 'json_schema', json_schema: {} } }, ['guided']],
    ['plain text as format', { response_format: { type: 'text' } }, []],
    ['a grammar of llama.cpp', { grammar: 'root ::= "a"' }, ['guided']],
    ['structured outputs of vLLM', { structured_outputs: { regex: 'a+' } }, ['guided']],
    ['a tool that must be called', { tools, tool_choice: 'required' }, ['guided', 'tools']],
    ['one tool that must be called', { tools, tool_choice: { type: 'function', function: { name: 'weather' } } }, ['guided', 'tools']],
    ['tools that a parser looks for', { tools }, ['tools']],
    ['tools of the older kind', { functions: [{ name: 'weather' }] }, ['tools']],
    ['tools that are not to be called', { tools, tool_choice: 'none' }, []],
    ['no tools', { tools: [] }, []],
    ['a penalty for presence', { presence_penalty: 0.5 }, ['penalties']],
    ['a penalty for frequency', { frequency_penalty: -0.5 }, ['penalties']],
    ['a penalty for repetition', { repetition_penalty: 1.1 }, ['penalties']],
    ['the same by the name of llama.cpp', { repeat_penalty: 1.1 }, ['penalties']],
    ['DRY', { dry_multiplier: 0.8 }, ['penalties']],
    ['penalties that change nothing', { presence_penalty: 0, frequency_penalty: 0, repetition_penalty: 1, dry_multiplier: 0 }, []],
    ['mirostat', { mirostat: 2 }, ['sampler']],
    ['mirostat that is off', { mirostat: 0 }, []],
    ['code of its own in the sampler', { logits_processors: ['mine'] }, ['sampler']],
    ['arguments for extensions', { vllm_xargs: { a: 1 } }, ['sampler']],
    ['no arguments for extensions', { vllm_xargs: {} }, []],
    ['words that may not be said', { bad_words: ['tea pot'] }, ['sampler']],
    ['a budget for its thoughts', { thinking_token_budget: 100 }, ['sampler']],
    ['no such budget', { thinking_token_budget: -1 }, []],
    ['a stop string', { stop: 'END' }, ['stop']],
    ['stop strings', { stop: ['END'] }, ['stop']],
    ['no stop strings', { stop: [], stop_token_ids: [7] }, []],
    ['probabilities of a chat', { logprobs: true, top_logprobs: 2 }, ['logprobs']],
    ['probabilities of a completion', { logprobs: 0 }, ['logprobs']],
    ['probabilities of its prompt', { prompt_logprobs: 1 }, ['logprobs']],
    ['no probabilities', { logprobs: false }, []],
    [
      'an image',
      {
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'What?' },
              { type: 'image_url', image_url: { url: 'x' } },
            ],
          },
        ],
      },
      ['media'],
    ],
    ['sound as an answer', { modalities: ['text', 'audio'] }, ['media']],
    ['embeddings as a prompt', { prompt_embeds: 'AAAA' }, ['media']],
    ['text in parts', { messages: [{ role: 'user', content: [{ type: 'text', text: 'What?' }] }] }, []],
    ['its prompt back', { echo: true }, ['echo']],
    ['a text to end with', { suffix: '}' }, ['echo']],
  ])('%s', (_what, body, needs) => {
    expect(continuationNeeds(body)).toEqual(needs);
  });
});

test('what an engine declares is met; all is met by a star', () => {
  expect(unmetNeed(['stop', 'tools'], ['continue:stop'])).toBe('tools');
  expect(unmetNeed(['stop', 'tools'], ['continue:*'])).toBeUndefined();
  expect(unmetNeed([], [])).toBeUndefined();
});
