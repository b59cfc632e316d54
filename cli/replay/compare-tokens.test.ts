import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareTokens, noDeviation } from './compare-tokens.ts';

const text = (words: string) => words.replace(/(^| )/g, ' ');
const answer = 'a b c d e f g h i j k l';

describe('compareTokens', () => {
  const cases: [string, string, boolean, Partial<typeof noDeviation>][] = [
    ['the expected answer', answer, true, {}],
    ['a beginning that does not claim to be whole', 'a b c d', false, {}],
    ['a beginning that does', 'a b c d', true, { lost: 8 }],
    ['three tokens passed over', 'a b c g h i j k l', true, { lost: 3 }],
    ['three tokens twice', 'a b c a b c d e f g h i j k l', true, { repeated: 3 }],
    ['one token that is another', 'a b c X d e f g h i j k l', true, { misplaced: 1 }],
    ['from the middle on another answer', 'a b c X Y Z', false, { misplaced: 3 }],
    ['nothing', '', true, { lost: 12 }],
  ];
  for (const [name, received, whole, wanted] of cases)
    it(`${name}: ${JSON.stringify(wanted)}`, () => {
      expect(compareTokens(text(answer), received === '' ? '' : text(received), whole)).toEqual({ ...noDeviation, ...wanted });
    });

  it('anything but the expected answer counts something', () => {
    const words = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1, maxLength: 20 }).map((list) => text(list.join(' ')));
    fc.assert(
      fc.property(words, words, (expected, received) => {
        const { lost, repeated, misplaced } = compareTokens(expected, received, true);
        expect(lost + repeated + misplaced > 0).toBe(expected !== received);
      }),
    );
  });
});
