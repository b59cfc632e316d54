import { describe, expect, test } from 'vitest';
import { grammarOfCalls, readAnswer, toolsOf } from './tool-calls.ts';

const weather = {
  type: 'function',
  function: { name: 'weather', parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] } },
};

test('each tool has rules of its own', () => {
  const tools = toolsOf([weather, { type: 'function', function: { name: 'now' } }]);
  if ('problem' in tools) throw new Error(tools.problem);
  const made = grammarOfCalls(tools);
  if ('problem' in made) throw new Error(made.problem);
  const names = made.grammar.split('\n').map((line) => line.split(' ::= ')[0]);
  expect(new Set(names).size).toBe(names.length);
  expect(made.grammar).toMatch(/^root ::= "\{\\"name\\": \\"weather\\", \\"arguments\\": " t0root "\}" \| /);
});

test.each([
  [[{ type: 'retrieval' }], 'of type function'],
  [[{ type: 'function', function: { name: 'no blanks' } }], 'needs a name'],
])('tools that are none are named: %j', (tools, words) => {
  expect(toolsOf(tools)).toEqual({ problem: expect.stringContaining(words) });
});

test('parameters that cannot be kept to are named with their tool', () => {
  expect(grammarOfCalls([{ name: 'f', parameters: { type: 'string', pattern: 'x' } }])).toEqual({
    problem: expect.stringMatching(/parameters of f: .*pattern/),
  });
});

describe('a call that is forced', () => {
  const text = '{"name": "weather", "arguments": {"city": "a } b", "at": {}}}';

  test('is told as it comes, and grows only', () => {
    let told = '';
    for (let length = 0; length <= text.length; length++) {
      const { content, calls } = readAnswer('forced', text.slice(0, length), false);
      expect(content).toBe('');
      const now = calls[0]?.argumentsText ?? '';
      expect(now.startsWith(told)).toBe(true);
      told = now;
    }
    expect(readAnswer('forced', text, true)).toEqual({ content: '', calls: [{ name: 'weather', argumentsText: '{"city": "a } b", "at": {}}' }] });
  });

  test('cut off by its limit is what came of it', () => {
    expect(readAnswer('forced', text.slice(0, 45), true).calls).toEqual([{ name: 'weather', argumentsText: '{"city": "a' }]);
  });
});

describe('calls between marks', () => {
  const call = (name: string) => `<tool_call>\n{"name": "${name}", "arguments": {"n": 1}}\n</tool_call>`;

  test('are taken out of the text, and nothing of a mark is shown', () => {
    const text = `Let me look. \n${call('a')}\n${call('b')}`;
    let shown = '';
    for (let length = 0; length <= text.length; length++) {
      const { content } = readAnswer('marked', text.slice(0, length), false);
      expect(content.startsWith(shown)).toBe(true);
      shown = content;
    }
    expect(readAnswer('marked', text, true)).toEqual({
      content: 'Let me look.',
      calls: [
        { name: 'a', argumentsText: '{"n":1}' },
        { name: 'b', argumentsText: '{"n":1}' },
      ],
    });
  });

  test('that are no calls are text', () => {
    for (const text of ['<tool_call>no JSON</tool_call>', 'a < b <tool', '<tool_call>{"name": "cut']) {
      expect(readAnswer('marked', text, true)).toEqual({ content: text, calls: [] });
    }
  });
});
