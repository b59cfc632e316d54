import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../clock/virtual-clock.ts';
import { createMemoryTelemetry } from '../telemetry/memory-telemetry.ts';
import { type Actor, assert } from './actor.ts';
import { type HostOptions, hostActors, restMs } from './host.ts';

interface Tally {
  readonly sum: number;
  readonly steps: number;
  readonly wakeAtMs: number | undefined;
}
type Message = { readonly type: 'add'; readonly amount: number } | { readonly type: 'wakeAt'; readonly atMs: number } | { readonly type: 'crash' };
type Effect = { readonly type: 'added'; readonly amount: number };

const add = (amount: number): Message => ({ type: 'add', amount });
const crash: Message = { type: 'crash' };

/** Adds up; refuses to go below zero; crashes when told to. */
const tally: Actor<Tally, Message, Effect> = {
  kind: 'tally',
  start: () => ({ sum: 0, steps: 0, wakeAtMs: undefined }),
  step(state, message) {
    const next = { ...state, steps: state.steps + 1 };
    if (message.type === 'add') return [{ ...next, sum: state.sum + message.amount }, [{ type: 'added', amount: message.amount }]];
    if (message.type === 'wakeAt') return [{ ...next, wakeAtMs: message.atMs }, []];
    if (message.type === 'wake') return [{ ...next, wakeAtMs: undefined }, []];
    throw new Error('told to crash');
  },
  wakeAt: (state) => state.wakeAtMs,
  assertValid: (state) => assert(state.sum >= 0, 'the sum is not negative'),
};

/** The same with a state that is changed in place, before the crash too. */
const inPlace: Actor<{ sum: number }, Message, Effect> = {
  kind: 'in-place',
  changesInPlace: true,
  start: () => ({ sum: 0 }),
  step(state, message) {
    if (message.type === 'add') state.sum += message.amount;
    if (message.type === 'crash') {
      state.sum = Number.NaN;
      throw new Error('half done');
    }
    return [state, []];
  },
  wakeAt: () => undefined,
  assertValid: (state) => assert(state.sum >= 0, 'the sum is not negative'),
};

function host<State, E>(actor: Actor<State, Message, E>, options: Partial<HostOptions<State, Message, E>> = {}) {
  const clock = new VirtualClock(0);
  const telemetry = createMemoryTelemetry(clock, { process: 'test' });
  const effects: [string, E][] = [];
  const hosted = hostActors({ actor, clock, telemetry, perform: (key, effect) => void effects.push([key, effect]), ...options });
  return { ...hosted, hosted, clock, telemetry, effects };
}

describe('steps', () => {
  test('actors start with their first message, each has its own state', () => {
    const { tell, state, keys, effects } = host(tally);
    expect(state('a')).toBeUndefined();
    tell('a', add(1));
    tell('b', add(5));
    tell('a', add(2));
    expect([state('a')?.sum, state('b')?.sum, keys()]).toEqual([3, 5, ['a', 'b']]);
    expect(effects.map(([key, effect]) => [key, effect.amount])).toEqual([
      ['a', 1],
      ['b', 5],
      ['a', 2],
    ]);
  });

  test('one message at a time: what an effect tells its actor waits until all effects of the step are done', () => {
    const order: string[] = [];
    const { hosted } = host(tally, {
      perform(key, effect) {
        order.push(`effect ${effect.amount} at ${hosted.state(key)?.sum}`);
        if (effect.amount < 3) hosted.tell(key, add(effect.amount + 1));
        order.push(`end ${effect.amount}`);
      },
    });
    hosted.tell('a', add(1));
    expect(order).toEqual(['effect 1 at 1', 'end 1', 'effect 2 at 3', 'end 2', 'effect 3 at 6', 'end 3']);
  });

  test('a full mailbox refuses, says so and counts it; the accepted ones are all taken', () => {
    const answers: boolean[] = [];
    const { hosted, telemetry } = host(tally, {
      mailboxLimit: 3,
      perform(key, effect) {
        if (effect.amount === 100) for (let n = 0; n < 5; n++) answers.push(hosted.tell(key, add(1)));
      },
    });
    expect(hosted.tell('a', add(100))).toBe(true);
    expect(answers).toEqual([true, true, true, false, false]);
    expect(hosted.state('a')?.sum).toBe(103);
    expect(telemetry.value('switchyard_mailbox_full_total', { kind: 'tally' })).toBe(2);
  });

  test('the same messages give the same state and effects, and a failed one leaves no trace in either', () => {
    const message = fc.oneof(fc.integer({ min: -5, max: 5 }).map(add), fc.constant(crash));
    fc.assert(
      fc.property(fc.array(message, { maxLength: 50 }), (messages) => {
        const { tell, state, effects } = host(tally);
        let sum = 0;
        for (const each of messages) {
          tell('a', each);
          if (each.type === 'add' && sum + each.amount >= 0) sum += each.amount;
          if (messages.length > 0) expect(state('a')?.sum).toBe(sum);
        }
        expect(effects.reduce((total, [, effect]) => total + effect.amount, 0)).toBe(sum);
      }),
    );
  });

  test('a step that breaks an invariant is taken back, counted and logged with the name of the actor', () => {
    const { tell, state, effects, telemetry } = host(tally);
    tell('a', add(1));
    tell('a', add(-2));
    expect(state('a')?.sum).toBe(1);
    expect(effects).toHaveLength(1);
    expect(telemetry.value('switchyard_actor_crashes_total', { kind: 'tally' })).toBe(1);
    expect(telemetry.logs.at(-1)).toMatchObject({
      level: 'error',
      fields: { actor: 'tally/a', error: expect.stringContaining('the sum is not negative') },
    });
  });

  test('an effect that throws is counted, the others are carried out and the state stays', () => {
    let performed = 0;
    const actor = {
      ...tally,
      step: (state: Tally) => [{ ...state, sum: 1 }, [1, 2, 3].map((amount) => ({ type: 'added' as const, amount }))] as const,
    };
    const { tell, state, telemetry } = host(actor, {
      perform(_key, effect) {
        if (effect.amount === 2) throw new Error('no');
        performed++;
      },
    });
    tell('a', add(1));
    expect([performed, state('a')?.sum, telemetry.value('switchyard_actor_crashes_total', { kind: 'tally' })]).toEqual([2, 1, 1]);
  });

  test('an actor that stops itself in an effect takes nothing more', () => {
    const { hosted } = host(tally, {
      perform(key) {
        hosted.tell(key, add(1));
        hosted.stop(key);
      },
    });
    hosted.tell('a', add(1));
    expect(hosted.size).toBe(0);
  });

  test('a new behaviour takes over the states', async () => {
    const { hosted, clock } = host(tally);
    hosted.tell('a', { type: 'wakeAt', atMs: 1000 });
    hosted.become({
      ...tally,
      step: (state) => [{ ...state, sum: 77, wakeAtMs: undefined }, []],
      wakeAt: (state) => state.wakeAtMs && state.wakeAtMs / 2,
    });
    await clock.advance(500);
    expect(hosted.state('a')?.sum).toBe(77);
  });
});

describe('wake-ups', () => {
  test('come at their time, once, and follow the state when it changes its mind', async () => {
    const { tell, state, clock } = host(tally);
    tell('a', { type: 'wakeAt', atMs: 100 });
    tell('a', { type: 'wakeAt', atMs: 40 });
    await clock.advance(39);
    expect(state('a')?.steps).toBe(2);
    await clock.advance(1);
    expect(state('a')?.steps).toBe(3);
    await clock.advance(1000);
    expect(state('a')?.steps).toBe(3);
    expect(clock.pending).toBe(0);
  });

  test('a restored state gets its wake-up, also one that is overdue; a stopped actor gets none', async () => {
    const { hosted, clock } = host(tally);
    await clock.advance(1000);
    hosted.restore('late', { sum: 0, steps: 0, wakeAtMs: 10 });
    hosted.restore('stopped', { sum: 0, steps: 0, wakeAtMs: 10 });
    hosted.stop('stopped');
    await clock.advance(0);
    expect(hosted.state('late')?.steps).toBe(1);
    hosted.stopAll();
    expect([hosted.size, clock.pending]).toEqual([0, 0]);
  });

  test('one that fails is tried again at growing intervals', async () => {
    const at: number[] = [];
    const failing: Actor<Tally, Message, Effect> = {
      ...tally,
      step(state, message, nowMs) {
        if (message.type !== 'wake') return tally.step(state, message, nowMs);
        at.push(nowMs);
        throw new Error('not now');
      },
    };
    const { tell, clock, state } = host(failing);
    tell('a', { type: 'wakeAt', atMs: 1 });
    await clock.advance(60_000);
    const gaps = at.slice(1).map((ms, index) => ms - at[index]!);
    expect(gaps.slice(0, 3)).toEqual([restMs(1), restMs(2), restMs(3)]);
    expect(Math.max(...gaps)).toBe(10_000);
    expect(at.length).toBeLessThan(20);
    // Messages are taken meanwhile.
    tell('a', add(3));
    expect(state('a')?.sum).toBe(3);
  });

  test('a state that asks for the same wake-up for ever does not stop time', async () => {
    const { tell, state, clock } = host({
      ...tally,
      step: (current: Tally) => [{ ...current, steps: current.steps + 1 }, []] as const,
      wakeAt: () => 5,
    });
    tell('a', add(0));
    await clock.advance(25);
    expect(state('a')?.steps).toBeLessThanOrEqual(22);
  });
});

describe('supervision of an actor that changes its state in place', () => {
  test('after a failed step it rests, then starts anew from its snapshot and takes what waited', async () => {
    const { tell, state, clock, telemetry } = host(inPlace, { revive: async () => ({ sum: 100 }) });
    tell('a', add(7));
    tell('a', crash);
    expect(state('a')).toBeUndefined();
    expect(tell('a', add(1))).toBe(true);
    expect(tell('b', add(2))).toBe(true);
    expect(state('b')?.sum).toBe(2);
    await clock.advance(restMs(1) - 1);
    expect(state('a')).toBeUndefined();
    await clock.advance(1);
    expect(state('a')?.sum).toBe(101);
    expect(telemetry.value('switchyard_actor_restarts_total', { kind: 'in-place' })).toBe(1);
  });

  test.each([
    ['there is none', { revive: () => undefined }],
    ['it cannot be read', { revive: () => Promise.reject(new Error('store away')) }],
    ['nobody keeps one', {}],
  ])('without a snapshot, because %s, it starts as at first', async (_why, options) => {
    const { tell, state, clock } = host(inPlace, options);
    tell('a', add(7));
    tell('a', crash);
    tell('a', add(1));
    await clock.advance(restMs(1));
    expect(state('a')?.sum).toBe(1);
  });

  test('a broken invariant is a failed step too', async () => {
    const { tell, state, clock } = host(inPlace, { revive: () => ({ sum: 5 }) });
    tell('a', add(-1));
    expect(state('a')).toBeUndefined();
    await clock.advance(restMs(1));
    expect(state('a')?.sum).toBe(5);
  });

  test('what the shell tells it at its new start comes before the messages that waited', async () => {
    const seen: number[] = [];
    const { hosted, clock } = host(inPlace, {
      restarted: (key) => void hosted.tell(key, add(1000)),
      inspect: (_key, message) => message.type === 'add' && seen.push(message.amount),
    });
    hosted.tell('a', crash);
    hosted.tell('a', add(1));
    hosted.tell('a', add(2));
    await clock.advance(restMs(1));
    expect(seen).toEqual([1000, 1, 2]);
  });

  test('the mailbox stays bounded while it rests', () => {
    const { tell, telemetry } = host(inPlace, { mailboxLimit: 4 });
    tell('a', crash);
    expect(Array.from({ length: 6 }, () => tell('a', add(1)))).toEqual([true, true, true, true, false, false]);
    expect(telemetry.value('switchyard_mailbox_full_total', { kind: 'in-place' })).toBe(2);
  });

  test('rests grow while it keeps failing, at most to ten seconds, and are short again after a quiet minute', async () => {
    const { tell, state, clock } = host(inPlace);
    for (let failure = 1; failure <= 9; failure++) {
      tell('a', crash);
      await clock.advance(restMs(failure) - 1);
      expect(state('a')).toBeUndefined();
      await clock.advance(1);
      expect(state('a')).toBeDefined();
    }
    expect(restMs(9)).toBe(10_000);
    await clock.advance(60_000);
    tell('a', crash);
    await clock.advance(restMs(1));
    expect(state('a')).toBeDefined();
  });

  test('one that is stopped while it rests does not come back', async () => {
    const { hosted, clock } = host(inPlace);
    hosted.tell('a', crash);
    hosted.stop('a');
    await clock.advance(60_000);
    expect(hosted.size).toBe(0);
  });

  test('a state put in place while it rests ends the rest', async () => {
    const { hosted, clock } = host(inPlace, { revive: () => ({ sum: 1 }) });
    hosted.tell('a', crash);
    hosted.restore('a', { sum: 50 });
    await clock.advance(60_000);
    expect(hosted.state('a')?.sum).toBe(50);
  });
});
