import { describe, expect, test } from 'vitest';
import type { InstanceView } from '../../proto/gen/messages.ts';
import { FleetLoad } from '../routing/fleet-load.ts';
import { anInstance, aRequest, aSequence, aView } from '../routing/routing-fixtures.ts';
import { poolCapacity } from './capacity.ts';
import { drained, noDrain, retryAfterMs } from './drain-rate.ts';
import { actualUse, estimatedUse, limitRefusal } from './limits.ts';
import { startByMs, targetsOf } from './slo.ts';

describe('capacity of a pool', () => {
  const loadOf = (instances: readonly InstanceView[]) => {
    const fleet = new FleetLoad();
    fleet.takeView(aView(instances), 0);
    return fleet;
  };
  const roomOf = (instances: readonly InstanceView[]) => poolCapacity(loadOf(instances).pool('chat'), 4);

  test.each<[string, InstanceView[], number]>([
    ['is batch and allowed waiting of every usable instance', [anInstance('a'), anInstance('b', { maxWaiting: 2 })], 36 + 34],
    [
      'leaves out dead, cordoned, refusing and other pools',
      [
        anInstance('a', {}, { health: 'dead' }),
        anInstance('b', {}, { cordoned: true }),
        anInstance('c', { accepting: false }),
        anInstance('e', { pool: 'large' }),
      ],
      0,
    ],
    ['leaves out prefill instances: they pass requests on', [anInstance('a', { role: 'prefill' }), anInstance('b', { role: 'decode' })], 36],
    [
      'counts prefill instances where nobody else takes requests',
      [anInstance('a', { role: 'prefill' }), anInstance('b', { role: 'decode', accepting: false })],
      36,
    ],
    ['counts suspect instances only without healthy ones', [anInstance('a', {}, { health: 'suspect' })], 36],
    ['does not count them beside a healthy one', [anInstance('a', {}, { health: 'suspect' }), anInstance('b', { maxRunning: 8 })], 12],
    ['has no room where KV memory is promised away', [anInstance('a', { running: 3, freeBlocks: 100, waitingBlocks: 100 })], 0],
    ['has room beside an overfull instance', [anInstance('a', { running: 32, waiting: 30 }), anInstance('b', { running: 30 })], 6],
    ['is nothing without instances', [], 0],
  ])('%s', (_, instances, room) => {
    expect(roomOf(instances).room).toBe(room);
  });

  test('is nothing without a view, and the pool is then saturated', () => {
    expect(poolCapacity(new FleetLoad().pool('chat'), 4)).toMatchObject({ room: 0, saturation: 1 });
  });

  test('counts what is booked and forgets what has ended', () => {
    const fleet = loadOf([anInstance('a', { running: 1, sequences: [aSequence('r1')] })]);
    fleet.account.book({ requestId: 'r2', epoch: 1, instanceId: 'a', handOffInstanceId: '', blocks: 7, computeTokens: 0, atMs: 0 });
    expect(poolCapacity(fleet.pool('chat'), 4).room).toBe(34);
    fleet.account.done('r1', 1);
    expect(poolCapacity(fleet.pool('chat'), 4).room).toBe(35);
    fleet.account.done('r2', 1);
    expect(poolCapacity(fleet.pool('chat'), 4)).toMatchObject({ room: 36, used: 0, saturation: 0 });
  });
});

describe('retry after', () => {
  test('is a second before anything has drained', () => {
    expect(retryAfterMs(noDrain(0), 50, 10)).toBe(1_000);
  });

  test('is about the time that the queue takes at the rate seen', () => {
    let rate = noDrain(0);
    for (let nowMs = 0; nowMs <= 60_000; nowMs += 100) rate = drained(rate, 1, nowMs);
    const waitMs = retryAfterMs(rate, 99, 60_000);
    expect(waitMs).toBeGreaterThan(8_000);
    expect(waitMs).toBeLessThan(12_000);
    expect(retryAfterMs(rate, 1e6, 60_000)).toBe(60_000);
    expect(retryAfterMs(rate, 0, 60_000)).toBeGreaterThanOrEqual(100);
  });
});

describe('limits', () => {
  const price = { inputMicros: 0.5, outputMicros: 2 };
  const done = { instanceId: 'a', promptTokens: 10, outputTokens: 5 } as Parameters<typeof actualUse>[0];

  test('the reserve is the estimated prompt and all allowed output, at the most that they may cost', () => {
    expect(estimatedUse(aRequest('r', { promptTokens: 10, maxOutputTokens: 20 }), price)).toEqual({ tokens: 30, costMicros: 60 });
  });

  test('a prompt of one-letter words, twice as many tokens as estimated, costs no more than its reserve', () => {
    const reserved = estimatedUse(aRequest('r', { promptTokens: 100, maxOutputTokens: 20 }), price);
    const used = actualUse({ ...done, promptTokens: 200, outputTokens: 20 }, price);
    expect(used.costMicros).toBeLessThanOrEqual(reserved.costMicros);
  });

  test('what was used is charged, and nothing when no instance was reached', () => {
    expect(actualUse(done, price)).toEqual({ tokens: 15, costMicros: 15 });
    expect(actualUse({ ...done, instanceId: '' }, price)).toEqual({ tokens: 0, costMicros: 0 });
  });

  test('a spent budget is not to be retried, a full minute is', () => {
    const limits = { requestsPerMinute: 1, tokensPerMinute: 2, budgetMicros: 3 };
    expect(limitRefusal('budget', limits, 0)).toMatchObject({ code: 'insufficient_quota', retryable: false });
    expect(limitRefusal('tokens', limits, 70)).toMatchObject({ code: 'rate_limit_exceeded', retryable: true, retryAfterMs: 70 });
    expect(limitRefusal('requests', limits, 80).retryAfterMs).toBe(80);
  });
});

test('targets come from the request, or from its class', () => {
  expect(targetsOf(aRequest('r', { sloClass: 'interactive' })).ttftMs).toBe(1_000);
  expect(targetsOf(aRequest('r', { ttftSloMs: 200, tpotSloMs: 20 }))).toEqual({ ttftMs: 200, tpotMs: 20 });
  expect(startByMs(aRequest('r', { arrivalMs: 7, ttftSloMs: 200 }))).toBe(207);
});
