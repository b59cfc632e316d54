import { describe, expect, test } from 'vitest';
import { isTooComplex, maxDepth, maxMembers } from './body-shape.ts';
import { readRequestBody } from './request-body.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const long = 'x'.repeat(1_000_000);
const members = (count: number) => Array.from({ length: count }, (_, n) => `"${n}":1`).join(',');

describe('a large body', () => {
  test.each([
    ['one long text', `{"prompt":"${long}"}`],
    ['a text of quotes, brackets and colons', `{"prompt":${JSON.stringify('\\"{[:\\\\'.repeat(300_000))}}`],
    ['token ids', `{"prompt":[${'12345,'.repeat(400_000)}1]}`],
    ['as many members as may be', `{"prompt":"${long}",${members(maxMembers - 1)}}`],
    ['as deep as may be', `{"prompt":"${long}","a":${'['.repeat(maxDepth - 1)}${']'.repeat(maxDepth - 1)}}`],
  ])('of %s is fine', (_what, text) => {
    expect(isTooComplex(bytes(text))).toBe(false);
  });

  test.each([
    ['members', `{"prompt":"${long}",${members(maxMembers + 1)}}`],
    ['brackets', `{"prompt":"${long}","a":${'['.repeat(maxDepth + 1)}${']'.repeat(maxDepth + 1)}}`],
    ['brackets that never close', `${'['.repeat(2_000_000)}`],
  ])('of too many %s is refused before it is parsed', (_what, text) => {
    expect(isTooComplex(bytes(text))).toBe(true);
    expect(readRequestBody('chat', bytes(text), [])).toMatchObject({ code: 'invalid_request' });
  });

  test('whose string never ends is left to the parser', () => {
    expect(isTooComplex(bytes(`{"prompt":"${long}`))).toBe(false);
    expect(readRequestBody('chat', bytes(`{"prompt":"${long}`), [])).toMatchObject({ code: 'invalid_json' });
  });
});
