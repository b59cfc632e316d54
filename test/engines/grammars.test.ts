// Grammars of JSON Schemas, as llama.cpp itself takes them: what a schema allows is taken, what it does not is not.
import { describe, expect, test } from 'vitest';
import { anyObject, grammarOfChoice, grammarOfSchema, type Made } from '../../lib/engines/llama/json-grammar.ts';
import { bareLlama } from './bare-llama.ts';
import { llamaMissing, llamaPackage } from './llama-package.ts';

const text = { type: 'string' };
const person = { type: 'object', properties: { name: text, age: { type: 'integer' }, note: { type: ['string', 'null'] } }, required: ['age'] };
const tree = {
  $defs: {
    node: { type: 'object', properties: { v: text, next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] } }, required: ['v', 'next'] },
  },
  $ref: '#/$defs/node',
};

const cases: readonly [string, Made, readonly string[], readonly string[]][] = [
  ['any object', { grammar: anyObject }, ['{}', '{"a": [1, 2.5e3, null, {"b": "c\\n"}]}'], ['[]', '1', '{"a"}', '{"a":1', '{"a":1} x']],
  [
    'properties, some of them required',
    grammarOfSchema(person),
    ['{"age": 7}', '{"name": "a", "age": 7}', '{"age":7,"note":null}', '{"name":"a","age":-7,"note":"b"}'],
    ['{}', '{"name":"a"}', '{"age":"7"}', '{"age":7,"more":1}', '{,"age":7}', '{"age":7,}', '{"age":7.5}'],
  ],
  [
    'an optional property first and last',
    grammarOfSchema({ type: 'object', properties: { a: text, b: text } }),
    ['{}', '{"a":""}', '{"b":""}', '{"a":"","b":""}'],
    ['{"b":"","a":""}', '{"a":"",}'],
  ],
  ['free keys', grammarOfSchema({ type: 'object', additionalProperties: { type: 'integer' } }), ['{}', '{"x":1,"y":2}'], ['{"x":"1"}']],
  [
    'lists with limits',
    grammarOfSchema({ type: 'array', items: { type: 'boolean' }, minItems: 1, maxItems: 2 }),
    ['[true]', '[true, false]'],
    ['[]', '[true,true,true]', '[1]'],
  ],
  ['lists that may be empty', grammarOfSchema({ type: 'array', items: { type: 'number' }, maxItems: 2 }), ['[]', '[1]', '[0.5,-2e7]'], ['[1,2,3]']],
  ['values', grammarOfSchema({ enum: ['a"b', 3, null, 'line\nbreak'] }), ['"a\\"b"', '3', 'null', '"line\\nbreak"'], ['"a"', '4']],
  ['one of several forms', grammarOfSchema({ anyOf: [{ const: 'x' }, person] }), ['"x"', '{"age":1}'], ['"y"', '{}']],
  ['texts with limits', grammarOfSchema({ ...text, minLength: 2, maxLength: 3 }), ['"ab"', '"abc"', '"a\\n"'], ['"a"', '"abcd"']],
  ['a form within itself', grammarOfSchema(tree), ['{"v":"a","next":{"v":"b","next":null}}'], ['{"v":"a"}', '{"v":"a","next":{}}']],
  ['a choice', grammarOfChoice(['yes', 'no "really"']), ['yes', 'no "really"'], ['maybe', '"yes"', '']],
];

describe.skipIf(!llamaPackage)(`grammars on llama.cpp${llamaMissing}`, async () => {
  if (!llamaPackage) return;
  const llama = await bareLlama();

  test.each(cases)('%s', async (_what, made, allowed, refused) => {
    if ('problem' in made) throw new Error(made.problem);
    const grammar = await llama.createGrammar({ grammar: made.grammar });
    expect(allowed.filter((one) => !grammar._testText(one))).toEqual([]);
    expect(refused.filter((one) => grammar._testText(one))).toEqual([]);
  });
});
