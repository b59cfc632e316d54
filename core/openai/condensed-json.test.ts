import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { condensedJson, fullLength } from './condensed-json.ts';
import { readRequestBody } from './request-body.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const parsed = (value: unknown) => JSON.parse(condensedJson(bytes(JSON.stringify(value)))!);
const filler = 'x'.repeat(70_000);

describe('a condensed JSON text', () => {
  test('is the text itself when that is small', () => {
    const text = JSON.stringify({ prompt: 'x'.repeat(60_000), a: [1, '"\\'] });
    expect(condensedJson(bytes(text))).toBe(text);
  });

  test('keeps the beginning of a long string, its length and all around it', () => {
    const long = 'The quick brown fox. '.repeat(10_000);
    const text = parsed({ before: 1.5, messages: [{ role: 'user', content: long }], after: { stream: true } });
    expect(text).toMatchObject({ before: 1.5, messages: [{ role: 'user' }], after: { stream: true } });
    const { content } = text.messages[0];
    expect(content.length).toBeLessThan(40_000);
    expect(content.slice(0, 32_000)).toBe(long.slice(0, 32_000));
    expect(fullLength(content)).toBe(long.length);
  });

  test('of bytes that are not UTF-8 there is none, wherever they are', () => {
    const broken = bytes(`{"a":"${filler}"}`);
    broken[60_000] = 0xff;
    expect(condensedJson(broken)).toBeUndefined();
  });

  test('whose string never ends is no JSON', () => {
    expect(() => JSON.parse(condensedJson(bytes(`{"prompt":"${filler}`))!)).toThrow();
  });

  test('cuts neither characters nor escapes, wherever they lie', () => {
    const piece = fc.constantFrom('a', '\\', '"', '\n', '\u0001', 'é', '漢', '😀', '\ud800');
    const around = fc.array(piece, { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(around, fc.integer({ min: 32_980, max: 33_010 }), (pieces, lead) => {
        const mixed = pieces.join('').repeat(40);
        const long = 'x'.repeat(lead) + mixed + filler;
        const { content } = parsed({ content: long, filler });
        const kept = content.slice(0, content.lastIndexOf('\uf8ff'));
        expect(long.toWellFormed().startsWith(kept.toWellFormed().slice(0, -1))).toBe(true);
        expect(kept.length).toBeGreaterThan(8_193);
      }),
    );
  });
});

test('a long prompt is counted and known by its beginning, an image is not counted', () => {
  const content = (text: string) => [
    { type: 'text', text },
    { type: 'image_url', image_url: { url: `data:image/png;base64,${'A'.repeat(200_000)}` } },
  ];
  const read = (text: string) =>
    readRequestBody('chat', bytes(JSON.stringify({ model: 'm', messages: [{ role: 'user', content: content(text) }] })), []);
  const short = read('once upon a time '.repeat(1_000));
  const long = read('once upon a time '.repeat(10_000));
  expect(short).toMatchObject({ promptTokens: Math.ceil((17_000 + 8) / 4) });
  expect(long).toMatchObject({ promptTokens: Math.ceil((170_000 + 8) / 4) });
  expect((long as { leadingText: string }).leadingText.slice(0, 8_193)).toBe((short as { leadingText: string }).leadingText.slice(0, 8_193));
  const prompt = readRequestBody('completions', bytes(JSON.stringify({ model: 'm', prompt: 'abcd'.repeat(50_000) })), []);
  expect(prompt).toMatchObject({ promptTokens: 50_000 });
});
