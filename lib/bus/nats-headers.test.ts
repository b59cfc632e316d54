import { headers as createHeaders } from '@nats-io/transport-node';
import { expect, test } from 'vitest';
import { fromNatsHeaders, toNatsHeaders } from './nats-headers.ts';

test('headers have the bytes that the client library gives them', () => {
  const ours = { traceparent: '00-ab-cd-01', 'Nats-Msg-Id': 'done-1', 'Switchyard-Error-Message': 'no%20r%C3%A4um' };
  const theirs = createHeaders();
  for (const [name, value] of Object.entries(ours)) theirs.set(name, value);
  const bytes = (headers: unknown) => Buffer.from((headers as { encode(): Uint8Array }).encode()).toString();
  expect(bytes(toNatsHeaders(ours))).toBe(bytes(theirs));
  expect(fromNatsHeaders(theirs)).toEqual(ours);
  expect(fromNatsHeaders(undefined)).toBeUndefined();
});

test('a value cannot begin another header', () => {
  expect(() => toNatsHeaders({ traceparent: 'a\r\nNats-Msg-Id: b' })).toThrow('line break');
});
