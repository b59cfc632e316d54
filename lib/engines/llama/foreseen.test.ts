import { expect, test } from 'vitest';
import { tokenAfter } from './foreseen.ts';

const history = [5, 6, 7];
const foreseen = { after: 3, token: 8 };

test('a foreseen token comes after the very tokens it was chosen after', () => {
  expect(tokenAfter({ history, foreseen }, [5, 6, 7])).toBe(8);
});

test.each([
  ['nothing is followed', undefined, [5, 6, 7]],
  ['none was chosen yet', { history, foreseen: undefined }, [5, 6, 7]],
  ['the source has said more', { history, foreseen }, [5, 6, 7, 8]],
  ['more has come since it was chosen', { history: [5, 6, 7, 9], foreseen }, [5, 6, 7, 9]],
  ['the tokens before it are others', { history, foreseen }, [5, 0, 7]],
  ['the sequence is shorter than what was followed', { history: [5, 6, 7, 9], foreseen }, [5, 6, 7]],
])('and otherwise there is none: %s', (_, followed, tokens) => {
  expect(tokenAfter(followed, tokens)).toBeUndefined();
});
