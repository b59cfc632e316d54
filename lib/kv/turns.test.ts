import { describe, expect, it } from 'vitest';
import type { Clock } from '../ports/clock.ts';
import { createTurns } from './turns.ts';

/** Stands still but for the work that is done; timers fire when told to. */
function workClock() {
  let nowMs = 0;
  const timers: (() => void)[] = [];
  const clock: Clock = {
    now: () => nowMs,
    after(_, run) {
      timers.push(run);
      return () => {};
    },
  };
  return {
    clock,
    spend: (ms: number) => () => {
      nowMs += ms;
    },
    timers,
    fire: () => {
      for (const run of timers.splice(0)) run();
    },
  };
}

const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

describe('turns', () => {
  it('lets timers run in between, however much there is to do and however many do it', async () => {
    const { clock, spend, timers, fire } = workClock();
    const turns = createTurns(clock);
    let pieces = 0;
    const lane = async () => {
      for (let piece = 0; piece < 10; piece++) {
        await turns.work(spend(0.5), false);
        pieces += 1;
      }
    };
    const lanes = Promise.all([lane(), lane()]);
    const doneAtRests: number[] = [];
    for (await settled(); timers.length > 0; await settled()) {
      doneAtRests.push(clock.now());
      fire();
    }
    await lanes;
    expect(pieces).toBe(20);
    expect(doneAtRests).toEqual([2, 4, 6, 8, 10]);
  });

  it('does not wait for anybody when there is little to do', async () => {
    const { clock, spend, timers } = workClock();
    const turns = createTurns(clock);
    await turns.work(spend(0.5), false);
    await turns.work(spend(0.5), false);
    expect(timers).toEqual([]);
  });

  it('does what is urgent while the rest waits, and lets timers run after it all the same', async () => {
    const { clock, spend, timers, fire } = workClock();
    const turns = createTurns(clock);
    const order: string[] = [];
    const copy = turns.work(spend(2), false).then(() => order.push('copied'));
    const next = turns.work(() => order.push('next'), false);
    await settled();
    expect(timers).toHaveLength(1);
    const last = turns.work(() => {
      order.push('urgent');
      spend(2)();
    }, true);
    await settled();
    expect(order).toEqual(['urgent']);
    expect(timers).toHaveLength(1);
    fire();
    await Promise.all([copy, next, last]);
    expect(order.toSorted()).toEqual(['copied', 'next', 'urgent']);
  });

  it('fails with the piece that fails, and goes on', async () => {
    const turns = createTurns(workClock().clock);
    const failing = turns.work(() => {
      throw new Error('gone');
    }, false);
    await expect(failing).rejects.toThrow('gone');
    let done = false;
    await turns.work(() => {
      done = true;
    }, false);
    expect(done).toBe(true);
  });
});
