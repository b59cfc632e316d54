import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readSaid } from './chunk.ts';
import { SseParser } from './sse.ts';

const recorded = (path: string) => readFileSync(new URL(`../../../test/support/engine-answers/${path}`, import.meta.url));
const idsOf = (path: string) =>
  new SseParser().push(recorded(path)).flatMap(({ bytes, dataStart, dataEnd }) => {
    const said = readSaid(bytes.toString('utf8', dataStart, dataEnd));
    return said ? said.choices.map(({ text, tokenIds }) => [text, tokenIds]) : [];
  });

test('vLLM tells the ids of tokens in a field of their own', () => {
  expect(idsOf('vllm/chat-stream.txt')).toEqual([
    ['', undefined],
    [')', [15]],
    [' S', [512]],
    ['k', [81]],
    [':', [32]],
    ['', [231]],
  ]);
});

test.each(['chat', 'completions'])('llama-server tells them beside the probabilities that it was asked for: %s', (endpoint) => {
  const withIds = idsOf(`llama-server/${endpoint}-stream-logprobs.txt`).filter(([text]) => text !== '');
  expect(withIds).toHaveLength(4);
  for (const [, ids] of withIds) expect(ids).toEqual([expect.any(Number)]);
  expect(idsOf(`llama-server/${endpoint}-stream.txt`).every(([, ids]) => ids === undefined)).toBe(true);
});

test('ids of which the text is not made are not told: the half of a character before came without one', () => {
  const chunk = (bytes: readonly number[], content: string) =>
    readSaid(JSON.stringify({ choices: [{ index: 0, delta: { content }, logprobs: { content: [{ id: 7, token: '', bytes }] } }] }))!.choices[0]!
      .tokenIds;
  expect([chunk([0x20, 0x61], ' a'), chunk([0x8c, 0x8a], '\u{1f30a}')]).toEqual([[7], undefined]);
});
