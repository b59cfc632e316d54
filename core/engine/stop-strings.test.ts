import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { showable } from './stop-strings.ts';

describe('text with stop strings', () => {
  test.each([
    ['nothing to stop at', 'abc', [], 3, false],
    ['a stop string', 'abcd', ['bc'], 1, true],
    ['the first of several', 'abcd', ['cd', 'b'], 1, true],
    ['the beginning of one', 'abc', ['cde'], 2, false],
    ['the longest beginning', 'xabab', ['ababc', 'bz'], 1, false],
    ['a beginning that led to nothing', 'abx', ['abc'], 3, false],
    ['one that begins within a false beginning', 'aab', ['ab'], 1, true],
  ] as const)('%s', (_name, text, stops, length, stopped) => {
    expect(showable(text, stops)).toEqual({ length, stopped });
  });

  test('however it is cut into pieces, exactly what is before the first complete stop string is shown, and never taken back', () => {
    const letters = (max: number) => fc.string({ unit: fc.constantFrom('a', 'b'), minLength: 1, maxLength: max });
    fc.assert(
      fc.property(fc.array(letters(3), { maxLength: 12 }), fc.array(letters(4), { minLength: 1, maxLength: 3 }), (pieces, stops) => {
        let text = '';
        let shown = 0;
        for (const piece of pieces) {
          const known = text.length;
          text += piece;
          const { length, stopped } = showable(text, stops, known);
          expect(length).toBeGreaterThanOrEqual(shown);
          shown = length;
          for (const stop of stops) expect(text.slice(0, shown)).not.toContain(stop);
          if (!stopped) continue;
          expect(stops.some((stop) => text.startsWith(stop, shown))).toBe(true);
          return;
        }
        for (const stop of stops) expect(text).not.toContain(stop);
      }),
    );
  });
});
