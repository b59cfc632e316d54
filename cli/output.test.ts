import { expect, test } from 'vitest';
import { duration } from './output.ts';

test.each([
  [0, '0 ms'],
  [850.4, '850 ms'],
  [999.6, '1.0 s'],
  [12_345, '12.3 s'],
  [59_960, '1 min 0 s'],
  [250_000, '4 min 10 s'],
  [3_599_600, '1 h 0 min'],
  [3_599_400, '59 min 59 s'],
  [11_100_000, '3 h 5 min'],
])('%d ms reads as %s', (ms, text) => expect(duration(ms)).toBe(text));
