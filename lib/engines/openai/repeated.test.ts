import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../../clock/virtual-clock.ts';
import { Repeated } from './repeated.ts';

/** A question whose answers the test gives. */
function makeQuestion() {
  const clock = new VirtualClock();
  const asked: { atMs: number; answer: () => void; fail: (thrown: Error) => void }[] = [];
  const failures: unknown[] = [];
  const question = new Repeated({
    clock,
    pauseMs: () => 100,
    ask: () => new Promise((answer, fail) => asked.push({ atMs: clock.now(), answer, fail })),
    failed: (thrown) => failures.push(thrown),
  });
  const startedMs = clock.now();
  return { clock, question, asked, failures, times: () => asked.map(({ atMs }) => atMs - startedMs) };
}

describe('a repeated question', () => {
  test('is asked again a while after each answer, and after each failure', async () => {
    const { clock, question, asked, failures, times } = makeQuestion();
    question.start();
    await clock.advance(30);
    expect(times()).toEqual([0]);
    asked[0]!.answer();
    await clock.advance(100);
    expect(times()).toEqual([0, 130]);
    asked[1]!.fail(new Error('no'));
    await clock.advance(100);
    expect(times()).toEqual([0, 130, 230]);
    expect(failures).toEqual([new Error('no')]);
  });

  test('is asked at once when there is a hurry, or right after the answer under way', async () => {
    const { clock, question, asked, times } = makeQuestion();
    question.hurry();
    await clock.advance(10);
    expect(times()).toEqual([]);
    question.start(50);
    question.hurry();
    await clock.advance(0);
    expect(times()).toEqual([10]);
    question.hurry();
    await clock.advance(20);
    expect(times()).toEqual([10]);
    asked[0]!.answer();
    await clock.advance(0);
    expect(times()).toEqual([10, 30]);
  });

  test('once stopped is not asked, tells no failure, and begins again when it is started', async () => {
    const { clock, question, asked, failures, times } = makeQuestion();
    question.start();
    await clock.advance(0);
    question.stop();
    asked[0]!.fail(new Error('late'));
    await clock.advance(500);
    expect([times(), failures]).toEqual([[0], []]);
    question.start();
    question.start();
    await clock.advance(0);
    expect(times()).toEqual([0, 500]);
  });

  test('started again while an answer is still out is asked once that has come', async () => {
    const { clock, question, asked, times } = makeQuestion();
    question.start();
    await clock.advance(0);
    question.stop();
    question.start();
    await clock.advance(50);
    expect(times()).toEqual([0]);
    asked[0]!.answer();
    await clock.advance(100);
    expect(times()).toEqual([0, 150]);
  });
});
