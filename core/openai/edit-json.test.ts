import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Edits, edited } from './edit-json.ts';

const change = (text: string, edits: Edits) => Buffer.from(edited(Buffer.from(text), edits)).toString();

describe('a member', () => {
  test.each<[string, string, Edits, string]>([
    ['that is there gets its value', '{"a": 1 , "b":2}', { a: { set: '"x"' } }, '{"a": "x" , "b":2}'],
    ['that is not there is put last', '{"a":1 }', { b: { set: 'true' } }, '{"a":1,"b":true }'],
    ['of an empty object stands alone', '{ }', { b: { set: 'true' } }, '{"b":true }'],
    ['that is only swapped stays away', '{"a":1}', { b: { swap: 'true' } }, '{"a":1}'],
    ['takes the place of all that were dropped', '{"a":1,"b":2}', { a: { drop: true }, b: { drop: true }, c: { set: '3' } }, '{"c":3}'],
    ['follows the last that stays', '{"a":1,"b":2}', { b: { drop: true }, c: { set: '3' } }, '{"a":1,"c":3}'],
    ['with an escaped name is known', '{"\\u0061":1}', { a: { set: '2' } }, '{"\\u0061":2}'],
    ['that is repeated is changed each time', '{"a":1,"b":0,"a":2}', { a: { set: '3' } }, '{"a":3,"b":0,"a":3}'],
    ['of a made object', '{"a":1}', { o: { withinObject: { x: { set: 'true' } } } }, '{"a":1,"o":{"x":true}}'],
    ['of an object that is null', '{"o":null}', { o: { withinObject: { x: { set: 'true' } } } }, '{"o":{"x":true}}'],
    ['of an object that is there', '{"o":{"y": [1, 2] }}', { o: { withinObject: { x: { set: 'true' } } } }, '{"o":{"y": [1, 2],"x":true }}'],
    ['of each object of a list', '{"l":[{"x":[1]}, 7 ,{"y":0,"x":[2]}]}', { l: { within: { x: { drop: true } } } }, '{"l":[{}, 7 ,{"y":0}]}'],
    ['of what is no object is left', '{"l":"x","x":1}', { l: { within: { x: { drop: true } } } }, '{"l":"x","x":1}'],
  ])('%s', (_what, text, edits, then) => {
    expect(change(text, edits)).toBe(then);
  });
});

test('nothing to change gives the same bytes, not a copy', () => {
  const bytes = Buffer.from('{"a":1}');
  expect(edited(bytes, { b: { drop: true }, a: { set: '1' } })).toBe(bytes);
});

test('numbers, escapes and spaces elsewhere stay as they are', () => {
  const text = '{ "seed" : 12345678901234567890, "t":1.0e+5,"s":"\\u00e9 é \\"}\\" ]", "n" : {"deep":[ {"a":[]} ]} , "drop":{"x":"}"} }';
  expect(change(text, { drop: { drop: true } })).toBe(text.replace(' , "drop":{"x":"}"} }', ' }'));
});

test('of any object the members that are dropped and set are, and no others', () => {
  const names = ['a', 'b', 'c', 'd"é', ''] as const;
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom(...names), fc.jsonValue()),
      fc.subarray([...names]),
      fc.subarray([...names]),
      (object, dropped, set) => {
        const edits: Record<string, Edits[string]> = {};
        for (const name of dropped) edits[name] = { drop: true };
        for (const name of set) edits[name] = { set: '[1]' };
        const wanted: Record<string, unknown> = { ...object };
        for (const name of dropped) delete wanted[name];
        for (const name of set) wanted[name] = [1];
        expect(JSON.parse(change(JSON.stringify(object, null, 1), edits))).toEqual(JSON.parse(JSON.stringify(wanted)));
      },
    ),
  );
});
