import { expect, test } from 'vitest';
import type { RequestRow } from '../../lib/operator/types.ts';
import { onlyRunning } from './requests.ts';

const row = (id: string, state: string): RequestRow =>
  ({ id, state, instance: 'chat-1', epoch: 1, tokens: 3, migrations: 0, failovers: 0, sloClass: 'standard', ageMs: 5 }) as unknown as RequestRow;

test('`move` without a request means the one that runs, and says so when there is none or more than one', () => {
  expect(onlyRunning([row('a', 'queued'), row('b', 'streaming')])).toBe('b');
  expect(() => onlyRunning([row('a', 'queued')])).toThrow('no request is running now');
  expect(() => onlyRunning([row('a', 'streaming'), row('b', 'streaming')])).toThrow('2 requests are running');
});
