import { expect, test } from 'vitest';
import { StepFit } from './step-fit.ts';

test('finds what steps cost from the steps', () => {
  const fit = new StepFit();
  for (let step = 0; step < 400; step++) {
    const decoded = step % 5;
    const prefilled = step % 7 === 0 ? 32 : 0;
    if (decoded + prefilled > 0) fit.add(decoded, prefilled, 2 + decoded * 0.5 + prefilled * 0.1);
  }
  expect(fit.model.decodeBaseMs).toBeCloseTo(2, 2);
  expect(fit.model.decodePerSequenceMs).toBeCloseTo(0.5, 2);
  expect(fit.model.prefillPerTokenMs).toBeCloseTo(0.1, 3);
});

test('with steps of one kind only it still predicts that kind, and nothing negative', () => {
  const fit = new StepFit();
  for (let step = 0; step < 50; step++) fit.add(1, 0, 3);
  const { decodeBaseMs, decodePerSequenceMs, prefillPerTokenMs } = fit.model;
  expect(decodeBaseMs + decodePerSequenceMs).toBeCloseTo(3, 2);
  expect(prefillPerTokenMs).toBe(0);
});

test('a slow first step does not spoil what the others say', () => {
  const fit = new StepFit();
  fit.add(0, 32, 400);
  fit.add(1, 0, 25);
  for (let step = 0; step < 60; step++) fit.add(1, 0, 30);
  const { decodeBaseMs, decodePerSequenceMs } = fit.model;
  expect(decodeBaseMs + decodePerSequenceMs).toBeCloseTo(30, 0);
});

test('follows a machine that has become slower', () => {
  const fit = new StepFit();
  for (let step = 0; step < 300; step++) fit.add(1 + (step % 3), 0, 1);
  for (let step = 0; step < 2_000; step++) fit.add(1 + (step % 3), 0, 4);
  expect(fit.model.decodeBaseMs).toBeCloseTo(4, 1);
});

test('before any step it is all 0', () => {
  expect(new StepFit().model).toEqual({ prefillBaseMs: 0, prefillPerTokenMs: 0, decodeBaseMs: 0, decodePerSequenceMs: 0 });
});
