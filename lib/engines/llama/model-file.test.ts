import { expect, test } from 'vitest';
import { randomModel } from './gguf/random-model.ts';
import { looksLikeGguf, whyNoModel } from './model-file.ts';

test('a model is known by its first bytes', () => {
  expect(looksLikeGguf(randomModel('exact').subarray(0, 24))).toBe(true);
});

test.each([
  'GGUF, but not really one',
  '\u0003\u0000\u0000\u0000GGUF\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000',
  'GGUF',
  '',
])('%j is none', (text) => {
  expect(looksLikeGguf(Buffer.from(text))).toBe(false);
});

test('a path where nothing is, is named', () => {
  expect(whyNoModel('no/such.gguf')).toContain('there is no model file no/such.gguf');
});
