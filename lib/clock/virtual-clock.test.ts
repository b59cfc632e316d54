import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { every, sleep } from '../ports/clock.ts';
import { systemClock } from './system-clock.ts';
import { VirtualClock } from './virtual-clock.ts';

describe('virtual clock', () => {
  test('timers run in order of time, ties in the order they were set, each at its own time', async () => {
    const clock = new VirtualClock(1000);
    const ran: [string, number][] = [];
    const note = (name: string) => () => ran.push([name, clock.now()]);
    clock.after(30, note('c'));
    clock.after(10, note('a'));
    clock.after(10, note('b'));
    clock.after(31, note('later'));
    await clock.advance(30);
    expect(ran).toEqual([
      ['a', 1010],
      ['b', 1010],
      ['c', 1030],
    ]);
    expect(clock.now()).toBe(1030);
    expect(clock.pending).toBe(1);
  });

  test('a timer set by a timer runs in the same advance when it is due', async () => {
    const clock = new VirtualClock(0);
    const ran: number[] = [];
    clock.after(10, () => clock.after(5, () => ran.push(clock.now())));
    await clock.advance(20);
    expect(ran).toEqual([15]);
  });

  test('promise chains settle between timers', async () => {
    const clock = new VirtualClock(0);
    const events: string[] = [];
    clock.after(10, () => events.push('ten'));
    clock.after(20, () => events.push('twenty'));
    void (async () => {
      await sleep(clock, 10);
      for (let step = 0; step < 50; step++) await Promise.resolve();
      await new Promise((resolve) => setImmediate(resolve));
      events.push(`chain at ${clock.now()}`);
    })();
    await clock.advance(20);
    expect(events).toEqual(['ten', 'chain at 10', 'twenty']);
  });

  test('a cancelled timer does not run; cancelling twice, or after it ran, does nothing', async () => {
    const clock = new VirtualClock(0);
    let runs = 0;
    const cancelled = clock.after(10, () => runs++);
    const kept = clock.after(10, () => runs++);
    cancelled();
    cancelled();
    await clock.advance(10);
    kept();
    expect(runs).toBe(1);
    expect(clock.pending).toBe(0);
  });

  test('every repeats until cancelled', async () => {
    const clock = new VirtualClock(0);
    const at: number[] = [];
    const stop = every(clock, 10, () => at.push(clock.now()));
    await clock.advance(35);
    stop();
    await clock.advance(100);
    expect(at).toEqual([10, 20, 30]);
  });

  test('until stops at the time the condition became true, and throws when it does not', async () => {
    const clock = new VirtualClock(0);
    let done = false;
    clock.after(40, () => {
      done = true;
    });
    await clock.until(() => done, 1000);
    expect(clock.now()).toBe(40);
    await expect(clock.until(() => false, 100)).rejects.toThrow('100 ms');
    expect(clock.now()).toBe(140);
  });

  test('two advances at once are a mistake in the test', async () => {
    const clock = new VirtualClock(0);
    const first = clock.advance(10);
    await expect(clock.advance(10)).rejects.toThrow('already');
    await first;
  });

  test('runs exactly the live timers, in order, whatever is set and cancelled', async () => {
    const timers = fc.array(fc.record({ delayMs: fc.integer({ min: 0, max: 50 }), cancel: fc.boolean() }), { maxLength: 300 });
    await fc.assert(
      fc.asyncProperty(timers, async (wanted) => {
        const clock = new VirtualClock(0);
        const ran: { delayMs: number; index: number }[] = [];
        const cancels = wanted.map(({ delayMs }, index) => clock.after(delayMs, () => ran.push({ delayMs, index })));
        for (const [index, { cancel }] of wanted.entries()) if (cancel) cancels[index]!();
        const live = wanted.flatMap(({ delayMs, cancel }, index) => (cancel ? [] : [{ delayMs, index }]));
        expect(clock.pending).toBe(live.length);
        await clock.advance(50);
        expect(ran).toEqual(live.sort((a, b) => a.delayMs - b.delayMs || a.index - b.index));
      }),
      { numRuns: 40 },
    );
  });
});

test.each([
  ['the virtual clock', new VirtualClock()],
  ['the machine', systemClock],
])('a timer without a time is a mistake on %s', (_name, clock) => {
  expect(() => clock.after(Number.NaN, () => {})).toThrow('needs a time');
});
