import { describe, expect, test } from 'vitest';
import { grammarOfChoice, grammarOfSchema } from './json-grammar.ts';

// Whether the grammars mean what they are to mean is tried on llama.cpp itself: test/engines/grammars.test.ts.

const person = {
  type: 'object',
  properties: { name: { type: 'string' }, age: { type: 'integer' } },
  required: ['name'],
  additionalProperties: false,
};

test('every rule that is used is there, once', () => {
  const made = grammarOfSchema({
    type: 'array',
    items: { anyOf: [person, { $ref: '#/$defs/tree' }] },
    $defs: { tree: { type: 'array', items: { $ref: '#/$defs/tree' } } },
  });
  if ('problem' in made) throw new Error(made.problem);
  const names = made.grammar.split('\n').map((line) => line.split(' ::= ')[0]!);
  expect(new Set(names).size).toBe(names.length);
  // Words outside of literals and sets of characters.
  const used = made.grammar.replace(/"(\\.|[^"\\])*"|\[(\\.|[^\]\\])*\]|\{[0-9,]*\}/g, ' ').match(/[a-zA-Z][a-zA-Z0-9]*/g)!;
  expect(used.filter((word) => !names.includes(word))).toEqual([]);
});

describe('what cannot be kept to is named', () => {
  test.each<[unknown, string]>([
    [{ type: 'string', pattern: '^a' }, 'pattern'],
    [{ type: 'integer', minimum: 3 }, 'minimum'],
    [{ type: 'object', properties: { a: { allOf: [] } } }, 'allOf in a schema/a'],
    [{ type: 'date' }, 'type must be one of'],
    [{ $ref: 'http://elsewhere/schema' }, 'into the schema itself'],
    [{ $ref: '#/$defs/none' }, 'where nothing is'],
    [{ type: 'object', properties: {}, required: ['b'] }, 'names b'],
    [{ type: 'array', minItems: 5, maxItems: 2 }, 'below minItems'],
    [{ enum: [] }, 'must be a list'],
    ['text', 'must be an object'],
  ])('%j', (schema, words) => {
    expect(grammarOfSchema(schema)).toEqual({ problem: expect.stringContaining(words) });
  });

  test('a schema of too many parts', () => {
    const properties = Object.fromEntries(Array.from({ length: 400 }, (_, index) => [`p${index}`, { type: ['string', 'null'] }]));
    expect(grammarOfSchema({ type: 'object', properties })).toEqual({ problem: expect.stringContaining('500 parts') });
  });

  test('a choice of nothing', () => {
    expect(grammarOfChoice([])).toEqual({ problem: expect.stringContaining('1 to 500') });
  });
});
