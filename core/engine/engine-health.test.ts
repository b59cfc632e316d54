import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { refusal } from '../errors/switchyard-error.ts';
import { refusalOfStatus } from './engine-answer.ts';
import { type EngineHealth, probeAnswered, probeAtMs, probeBegan, requestFailed, requestWentWell, wellEngine } from './engine-health.ts';

const broken = refusalOfStatus(503, 0);

/** `.` a request goes well, `x` one fails. */
function outcome(outcomes: string, from = wellEngine, nowMs = 0): EngineHealth {
  return [...outcomes].reduce((health, each) => (each === 'x' ? requestFailed(health, broken, nowMs) : requestWentWell(health)), from);
}

describe('an engine is set aside', () => {
  test.each([
    ['xx', false],
    ['xxx', true],
    ['xx.xx.xx', false],
    ['xx.x.x.x.x.xx', true],
    ['xx.x.x.x.x.x', false],
    ['xxxxxx', true],
    ['x.x.x.x.................x.x.x.x', false],
  ])('after %s: %s', (outcomes, aside) => {
    expect(outcome(outcomes).aside !== undefined).toBe(aside);
  });

  test.each(['invalid_request', 'context_length_exceeded', 'client_left', 'queue_full', 'draining'] as const)('never because of %s', (code) => {
    let health = wellEngine;
    for (let times = 0; times < 20; times++) health = requestFailed(health, refusal(code, 'no'), 0);
    expect(health).toBe(wellEngine);
  });

  test('and it says what it answers', () => {
    expect(outcome('xxx', wellEngine, 70).aside).toEqual({
      code: 'engine_unavailable',
      message: 'the engine answers 503',
      sinceMs: 70,
      probeAtMs: 170,
    });
  });
});

describe('an engine that is set aside', () => {
  test('is probed again at growing pauses, of less than half a second', () => {
    let health = outcome('xxx');
    const pauses: number[] = [];
    for (let nowMs = 0; pauses.length < 6; ) {
      const dueMs = probeAtMs(health)!;
      pauses.push(dueMs - nowMs);
      nowMs = dueMs;
      health = probeBegan(health);
      expect(probeAtMs(health)).toBeUndefined();
      health = probeAnswered(health, broken, nowMs);
    }
    expect(pauses).toEqual([100, 200, 400, 400, 400, 400]);
  });

  test('comes back when a probe gets a token, and the next request decides', () => {
    const back = probeAnswered(probeBegan(outcome('xxx')), undefined, 100);
    expect(back.aside).toBeUndefined();
    expect(outcome('x', back).aside).toBeDefined();
    expect(outcome('.', back)).toEqual(wellEngine);
    expect(outcome('.xx', back).aside).toBeUndefined();
  });

  test('waits longer when it comes back only to fail', () => {
    const again = outcome('x', probeAnswered(probeBegan(outcome('xxx')), undefined, 100), 100);
    expect(probeAtMs(again)).toBe(300);
  });

  test('is not brought back by requests that began before', () => {
    const health = outcome('xxx');
    expect(outcome('....', health)).toBe(health);
  });

  test('says what the last probe was answered', () => {
    const health = probeAnswered(probeBegan(outcome('xxx')), refusalOfStatus(429, 0), 5);
    expect(health.aside).toMatchObject({ code: 'engine_overloaded', message: 'the engine answers 429' });
  });
});

test('whatever happens: a probe is due or under way exactly while it is aside, within half a second', () => {
  const steps = fc.array(fc.tuple(fc.constantFrom('well', 'fails', 'probe', 'probe well', 'probe fails'), fc.nat(300)), { maxLength: 60 });
  fc.assert(
    fc.property(steps, (taken) => {
      let [health, nowMs, probing] = [wellEngine, 0, false];
      for (const [step, ms] of taken) {
        nowMs += ms;
        if (step === 'well') health = requestWentWell(health);
        else if (step === 'fails') health = requestFailed(health, broken, nowMs);
        else if (step === 'probe' && probeAtMs(health) !== undefined) [health, probing] = [probeBegan(health), true];
        else if (step !== 'probe' && probing) [health, probing] = [probeAnswered(health, step === 'probe well' ? undefined : broken, nowMs), false];
        expect(probeAtMs(health) !== undefined).toBe(health.aside !== undefined && !probing);
        expect((probeAtMs(health) ?? 0) - nowMs).toBeLessThan(500);
        expect(health.outcomes).toBeLessThanOrEqual(0xffff);
      }
    }),
  );
});
