import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { promptOf, tokensOf } from './prompt.ts';

describe('promptOf', () => {
  it('has exactly the tokens of the row', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3000 }), fc.integer(), fc.array(fc.nat(100), { maxLength: 4 }), (promptTokens, seed, prefixIds) => {
        expect(tokensOf(promptOf({ promptTokens, prefixIds }, seed))).toBe(promptTokens);
      }),
      { numRuns: 50 },
    );
  });

  it('shares text where rows share prefix ids, and only there', () => {
    const [a, b] = [promptOf({ promptTokens: 1500, prefixIds: [1, 2] }, 7), promptOf({ promptTokens: 1500, prefixIds: [1, 3] }, 8)];
    expect(a.slice(0, 2048)).toBe(b.slice(0, 2048));
    expect(a.slice(2048, 4096)).not.toBe(b.slice(2048, 4096));
  });

  it('differs between rows without a shared prefix', () => {
    expect(promptOf({ promptTokens: 64, prefixIds: [] }, 1)).not.toBe(promptOf({ promptTokens: 64, prefixIds: [] }, 2));
  });
});
