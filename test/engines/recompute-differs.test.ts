// What is not promised: with shapes of ordinary models a sequence that is computed again in other batches may go on with other
// tokens than it would have. One whose KV is copied does not. How often is printed, with the reason.
import { describe, expect, test } from 'vitest';
import { llamaMissing, llamaPackage } from './llama-package.ts';
import { startLlama } from './llama-rig.ts';
import { type MoveMode, move } from './moves.ts';

const requests = 8;

describe.skipIf(!llamaPackage)(`a model of ordinary shape${llamaMissing}`, () => {
  test('goes on exactly with its KV copied; computed again it may differ', { timeout: 120_000 }, async () => {
    // With flash attention, where batches differ most.
    const config = { flashAttention: true, maxRunning: 1 };
    const [a, b] = [await startLlama('tiny', config), await startLlama('tiny', config)];
    const same: Record<MoveMode, number> = { stop_and_copy: 0, follow: 0, recompute: 0 };
    for (let seed = 1; seed <= requests; seed++) {
      const ask = { maxTokens: 300, temperature: 0, seed, prompt: `Number ${seed} of the list` };
      const unmoved = a.open({ ...ask, id: `unmoved-${seed}` });
      await unmoved.ended();
      for (const mode of ['stop_and_copy', 'follow', 'recompute'] as const) {
        const moving = a.open({ ...ask, id: `${mode}-${seed}` });
        await moving.tokens(100);
        expect(await move(moving, a, b, { mode })).toBeUndefined();
        await moving.ended();
        expect(moving.contradictions).toEqual([]);
        expect(moving.ids).toHaveLength(unmoved.ids.length);
        if (moving.ids.every((id, index) => id === unmoved.ids[index])) same[mode]++;
      }
    }
    console.log(
      [
        `tiny: the same text as without a move: copied ${same.stop_and_copy}, followed ${same.follow}, computed again ${same.recompute} of ${requests}.`,
        "llama.cpp adds in another order when it computes several tokens at once: ggml's tiled matrix product, and flash attention's split by threads.",
      ].join('\n'),
    );
    expect(same.stop_and_copy).toBe(requests);
    await a.close();
    await b.close();
  });
});
