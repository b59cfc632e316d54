// Requests that move between real llama engines say, token by token, what they would have said without: in every mode, with
// neighbours in the batches and with sampling. Preset `exact`: results do not depend on what else is computed.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Conversation } from './conversation.ts';
import { llamaMissing, llamaPackage } from './llama-package.ts';
import { type LlamaRig, memoryMb, startLlama } from './llama-rig.ts';
import { type MoveMode, move } from './moves.ts';

describe.skipIf(!llamaPackage)(`moves between llama engines${llamaMissing}`, () => {
  let a: LlamaRig;
  let b: LlamaRig;
  beforeAll(async () => {
    [a, b] = [await startLlama('exact'), await startLlama('exact')];
  });
  afterAll(async () => {
    await a?.close();
    await b?.close();
  });

  const said = async (conversation: Conversation) => {
    await conversation.ended();
    expect(conversation.contradictions).toEqual([]);
    return conversation.ids;
  };

  const withNeighbours = async <T>(tag: string, run: () => Promise<T>): Promise<T> => {
    const ask = (id: string, seed: number) => ({ id: `${tag}-${id}`, maxTokens: 600, temperature: 1.2, seed, prompt: `Number ${seed} of the list` });
    const neighbours = [a.open(ask('n1', 1)), a.open(ask('n2', 2)), b.open(ask('n3', 3)), b.open(ask('n4', 4))];
    await Promise.all(neighbours.map((neighbour) => neighbour.tokens(5)));
    const result = await run();
    a.engine.cancel(`${tag}-n1`, 1);
    a.engine.cancel(`${tag}-n2`, 1);
    b.engine.cancel(`${tag}-n3`, 1);
    b.engine.cancel(`${tag}-n4`, 1);
    return result;
  };

  test.each<[MoveMode, number]>(
    (['stop_and_copy', 'follow', 'recompute'] as const).flatMap((mode) => [0, 0.9].map((temperature): [MoveMode, number] => [mode, temperature])),
  )('%s, temperature %s: the same tokens as without a move', async (mode, temperature) => {
    const ask = { maxTokens: 500, temperature, seed: 42, prompt: 'What is beyond the hill?' };
    const reference = await said(a.open({ ...ask, id: `reference-${mode}-${temperature}` }));
    expect(reference).toHaveLength(500);
    await withNeighbours(`${mode}-${temperature}`, async () => {
      const moving = a.open({ ...ask, id: `moving-${mode}-${temperature}` });
      await moving.tokens(20);
      expect(await move(moving, a, b, { mode })).toBeUndefined();
      await moving.tokens(60);
      expect(await move(moving, b, a, { mode })).toBeUndefined();
      await moving.tokens(90);
      expect(await move(moving, a, b, { mode })).toBeUndefined();
      expect(await said(moving)).toEqual(reference);
      expect(moving.epoch).toBe(4);
    });
  });

  /** Moves a request to and fro until it ends. Gives how often the target had the next token, and whether that was the last one. */
  async function wander(moving: Conversation): Promise<{ moves: number; foreseen: number; endForeseen: boolean }> {
    const seen = { moves: 0, foreseen: 0, endForeseen: false };
    let [source, target] = [a, b];
    for (await moving.tokens(1); moving.finishReason === ''; [source, target] = [target, source]) {
      // Until it is moved again it says little or nothing.
      source.engine.hold(moving.id, moving.epoch, true);
      let before = 0;
      const refused = await move(moving, source, target, {
        mode: 'stop_and_copy',
        async at(phase) {
          if (phase === 'committed') {
            seen.moves++;
            seen.foreseen += moving.ids.length - before;
            seen.endForeseen = moving.finishReason !== '';
            target.engine.hold(moving.id, moving.epoch, true);
          }
          if (phase !== 'loaded') return;
          before = moving.ids.length;
          // One is answered before the step that follows the order to load, the other after it.
          for (const answered of [await target.engine.probe(), await target.engine.probe()]) expect(answered).toBeUndefined();
        },
      });
      if (refused) expect(moving.finishReason).not.toBe('');
    }
    return seen;
  }

  test('whoever takes over has the next token already, be it the last one', async () => {
    const ask = { maxTokens: 60, temperature: 0.9, seed: 5, prompt: 'Who knocks?' };
    const reference = await said(a.open({ ...ask, id: 'reference-foreseen' }));
    let endForeseen = false;
    // On a busy machine an order to hold may come late, and a request end between two moves.
    for (let attempt = 1; !endForeseen; attempt++) {
      expect(attempt).toBeLessThan(50);
      const moving = a.open({ ...ask, id: `foreseen-${attempt}` });
      const seen = await wander(moving);
      expect(seen.foreseen).toBe(seen.moves);
      expect(await said(moving)).toEqual(reference);
      expect(moving.finishReason).toBe('length');
      endForeseen = seen.endForeseen;
    }
    for (const { engine } of [a, b]) expect(engine.status()).toMatchObject({ sequences: [], reservedBlocks: 0 });
  });

  test('one request moves 1,000 times between two engines', { timeout: 600_000 }, async () => {
    const hops = 1000;
    const [c, d] = [await startLlama('exact', { contextTokens: 8192 }), await startLlama('exact', { contextTokens: 8192 })];
    const ask = { maxTokens: 8000, temperature: 0.9, seed: 3, prompt: 'Where does the road end?' };
    const moving = c.open({ ...ask, id: 'traveller' });
    let [source, target] = [c, d];
    let early = 0;
    for (let hop = 0; hop < hops; hop++) {
      await moving.tokens(moving.ids.length + 3);
      const mode = hop % 10 === 9 ? 'follow' : 'stop_and_copy';
      // On a busy machine a move takes longer, and the answer would be over before all of them are done.
      if (mode === 'stop_and_copy' && moving.ids.length > hop * 5) source.engine.hold(moving.id, moving.epoch, true);
      const refused = await move(moving, source, target, { mode, followTokens: 2 });
      if (refused) throw new Error(`hop ${hop}: ${refused.code}: ${refused.message}`);
      [source, target] = [target, source];
      if (hop === 99) early = memoryMb(c.pid!);
    }
    const count = moving.ids.length;
    source.engine.cancel(moving.id, moving.epoch);
    expect(moving.contradictions).toEqual([]);
    const late = memoryMb(c.pid!);
    const reference = c.open({ ...ask, id: 'reference-traveller' });
    await reference.tokens(count, 240_000);
    c.engine.cancel(reference.id, 1);
    expect(moving.ids.slice(0, count)).toEqual(reference.ids.slice(0, count));
    console.log(`${hops} moves over ${count} tokens: exact; the engine's memory ${early.toFixed(0)} MB after 100, ${late.toFixed(0)} MB after all`);
    expect(late - early).toBeLessThan(100);
    await c.close();
    await d.close();
  });
});
