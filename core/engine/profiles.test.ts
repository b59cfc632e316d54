import { describe, expect, test } from 'vitest';
import { coefficientsOf, engineFacts, isProfile, type ProfileName, reportedStepModel } from './profiles.ts';
import { predictDecodeMs, predictPrefillMs, stepMs } from './step-model.ts';

const names = Object.keys(engineFacts) as ProfileName[];

describe.each(names)('profile %s', (name) => {
  const facts = engineFacts[name];
  const c = coefficientsOf(name);

  test('reproduces the prefill times it was fitted from', () => {
    [512, 2048, 8192].forEach((tokens, i) => {
      expect(stepMs(c, 0, [{ before: 0, tokens }])).toBeCloseTo(facts.prefillMs[i]!, 6);
    });
  });

  test('reproduces decode steps within 8 percent', () => {
    [1, 16, 64].forEach((batch, i) => {
      expect(Math.abs(stepMs(c, batch, []) / facts.decodeMs[i]! - 1)).toBeLessThan(0.08);
    });
  });

  test('a prompt in chunks costs what it costs whole, plus a base for each further chunk', () => {
    const whole = stepMs(c, 0, [{ before: 0, tokens: 2048 }]);
    const parts = [0, 512, 1024, 1536].reduce((sum, before) => sum + stepMs(c, 0, [{ before, tokens: 512 }]), 0);
    expect(parts).toBeCloseTo(whole + 3 * c.prefillBaseMs, 6);
  });

  test('the reported model predicts a prompt of 2,048 tokens and every decode step', () => {
    const model = reportedStepModel(c);
    expect(predictPrefillMs(model, 2048)).toBeCloseTo(facts.prefillMs[1], 6);
    expect(predictDecodeMs(model, 16)).toBeCloseTo(stepMs(c, 16, []), 6);
    expect(predictPrefillMs(model, 0)).toBe(0);
    expect(predictDecodeMs(model, 0)).toBe(0);
  });

  test('half the speed takes twice as long', () => {
    const slow = coefficientsOf(name, 0.5);
    expect(stepMs(slow, 4, [{ before: 100, tokens: 300 }])).toBeCloseTo(2 * stepMs(c, 4, [{ before: 100, tokens: 300 }]), 6);
  });
});

test('an empty step takes no time', () => {
  expect(stepMs(coefficientsOf('llama-3.1-8b-h100'), 0, [])).toBe(0);
});

test('only listed profiles exist', () => {
  expect(isProfile('llama-3.1-8b-h100')).toBe(true);
  expect(isProfile('toString')).toBe(false);
});
