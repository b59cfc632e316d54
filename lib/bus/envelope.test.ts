import { expect, test } from 'vitest';
import { failureHeaders, failureOf, failureSender } from './envelope.ts';

test('a failure comes back as it was thrown', () => {
  const headers = failureHeaders(new Error('über\nzwei'), 'chat-1');
  expect(failureOf(headers)).toMatchObject({ code: 'internal', message: 'über\nzwei', retryAfterMs: 0 });
  expect(failureSender(headers)).toBe('chat-1');
});

test.each(['toString', '__proto__', 'from_a_newer_version', ''])('the code "%s" is nobody\'s, and becomes internal', (code) => {
  expect(failureOf({ 'Switchyard-Error-Code': code })).toMatchObject({ code: 'internal', retryable: false });
});

test('headers that make no sense still are a failure', () => {
  const headers = {
    'Switchyard-Error-Code': 'timeout',
    'Switchyard-Error-Message': '%E0%A4%A',
    'Switchyard-Retry-After-Ms': 'soon',
    'Switchyard-Sender': '%',
  };
  expect(failureOf(headers)).toMatchObject({ code: 'timeout', message: '%E0%A4%A', retryAfterMs: 0 });
  expect(failureSender(headers)).toBe('%');
});
