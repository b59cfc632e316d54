import { expect, test } from 'vitest';
import { refusal } from '../../core/errors/switchyard-error.ts';
import type { HandOverReply } from '../../proto/gen/messages.ts';
import { VirtualClock } from '../clock/virtual-clock.ts';
import { handOverForSure, handOverLimit, whyNotCommitted } from './hand-over.ts';

const limits = { withinMs: 500, outcomeMs: 1_000 };
const reply = (outcome: HandOverReply['outcome'], refusal?: HandOverReply['refusal']): HandOverReply => ({
  outcome,
  epoch: 2,
  instanceId: 'chat-2',
  refusal,
});

test('an answer that comes is the answer', async () => {
  const clock = new VirtualClock();
  const gateway = { handOver: async () => reply('committed'), finalOutcome: () => Promise.reject(new Error('not to be asked')) };
  expect(await handOverForSure(clock, gateway, limits)).toMatchObject({ outcome: 'committed' });
});

test('after a lost answer the outcome is asked for until somebody says it', async () => {
  const clock = new VirtualClock();
  const asked: string[] = [];
  const answer = handOverForSure(
    clock,
    {
      async handOver(timeoutMs) {
        asked.push(`hand-over within ${timeoutMs}`);
        throw new Error('lost');
      },
      async finalOutcome() {
        asked.push('outcome');
        if (asked.length < 4) throw new Error('lost');
        return reply('committed');
      },
    },
    limits,
    (thrown) => asked.push(`told: ${(thrown as Error).message}`),
  );
  await clock.advance(1_000);
  expect(await answer).toMatchObject({ outcome: 'committed' });
  expect(asked).toEqual(['hand-over within 500', 'told: lost', 'outcome', 'outcome']);
});

test('a gateway that never answers is left after the limit, with the last failure', async () => {
  const clock = new VirtualClock();
  let asked = 0;
  const gateway = { handOver: () => Promise.reject(new Error('first')), finalOutcome: () => Promise.reject(new Error(`question ${++asked}`)) };
  const answer = handOverForSure(clock, gateway, limits).catch((thrown: Error) => thrown.message);
  await clock.advance(5_000);
  expect(await answer).toBe('question 11');
});

test.each([
  { what: 'all of the time limit while the lease is long', nowMs: 100, leaseMs: 3_000, limit: 1_000 },
  { what: 'what is left of the lease', nowMs: 2_500, leaseMs: 3_000, limit: 500 },
  { what: 'no hand-over in the last moments of the lease', nowMs: 2_990, leaseMs: 3_000, limit: undefined },
  { what: 'no hand-over after the lease', nowMs: 3_100, leaseMs: 3_000, limit: undefined },
])('$what', ({ nowMs, leaseMs, limit }) => {
  expect(handOverLimit(nowMs, 0, leaseMs, 1_000)).toBe(limit);
});

test('why it was not committed', () => {
  const refused = reply('refused', refusal('target_full', 'it has gone'));
  expect([reply('committed'), reply('unknown_request'), reply('refused'), refused].map(whyNotCommitted)).toEqual([
    '',
    'unknown_request',
    'stale_epoch',
    'target_full',
  ]);
});
