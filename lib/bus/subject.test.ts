import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { keysOf, matches, subjectOf } from './subject.ts';

const key = fc
  .oneof(
    fc.string({ minLength: 1, unit: 'binary' }),
    fc.string({ minLength: 1, unit: fc.constantFrom('.', '*', '>', '%', ' ', '\t', '\n', '\0', '\u3000', '\u00a0', 'ü', 'a') }),
  )
  .filter((text) => text !== '*');

describe('subjects', () => {
  test('keys replace * in order', () => {
    expect(subjectOf('sy.v1.status.*.*', ['chat', 'chat-1'])).toBe('sy.v1.status.chat.chat-1');
    expect(subjectOf('sy.v1.status.*.*', ['chat', '*'])).toBe('sy.v1.status.chat.*');
    expect(subjectOf('sy.v1.router.route', [])).toBe('sy.v1.router.route');
  });

  test('too few, too many and empty keys are mistakes', () => {
    expect(() => subjectOf('a.*.*', ['x'])).toThrow('takes 2 keys, got 1');
    expect(() => subjectOf('a.*', ['x', 'y'])).toThrow('takes 1 keys, got 2');
    expect(() => subjectOf('a.*', [''])).toThrow('empty');
  });

  test('any key comes back as it went in, is one token, and is no wildcard', () => {
    fc.assert(
      fc.property(key, key, (one, two) => {
        const subject = subjectOf('a.*.b.*', [one, two]);
        expect(subject.split('.')).toHaveLength(4);
        expect(subject).not.toMatch(/[ \t\r\n*>]/);
        expect(keysOf('a.*.b.*', subject)).toEqual([one, two]);
        expect(matches('a.*.b.*', subject)).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test('a pattern matches token by token', () => {
    expect(matches('a.*.c', 'a.b.c')).toBe(true);
    expect(matches('a.*.c', 'a.b.d')).toBe(false);
    expect(matches('a.*', 'a.b.c')).toBe(false);
    expect(matches('a.*.c', 'a.b')).toBe(false);
  });
});

test('a subject that nobody of ours made up is no reason to fail', () => {
  expect(keysOf('a.*.b', 'a.%zz.b')).toEqual(['%zz']);
  expect(keysOf('a.*.b', 'a.%E0%A4%A.b')).toEqual(['%E0%A4%A']);
});

test('a key that would not fit into a line of NATS is refused', () => {
  expect(() => subjectOf('a.*', ['k'.repeat(257)])).toThrow('longer than 256');
});
