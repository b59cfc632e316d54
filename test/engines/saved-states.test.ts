// Generated models and saved sequences, as llama.cpp itself takes them.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { cacheFolder } from '../../infra/setup/machine-facts.ts';
import { modelFile } from '../../infra/setup/random-model.ts';
import { wordVocabulary } from '../../lib/engines/llama/gguf/word-vocabulary.ts';
import { retargetStreams } from '../../lib/engines/llama/state-file/retarget-streams.ts';
import { readStateFile, type StateFile } from '../../lib/engines/llama/state-file/state-file.ts';
import { bareContext, bareLlama, continued } from './bare-llama.ts';
import { llamaMissing, llamaPackage } from './llama-package.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchyard-states-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const { pieces, spokenIds } = wordVocabulary();

/** The shortest period that the last tokens have, if any: the text repeats itself from there on. */
function periodOf(tokens: readonly number[]): number | undefined {
  for (let period = 1; period <= tokens.length / 3; period++) {
    const tail = tokens.slice(-period * 3);
    if (tail.every((token, index) => index < period || token === tail[index - period])) return period;
  }
  return undefined;
}

describe.skipIf(!llamaPackage)(`llama.cpp${llamaMissing}`, async () => {
  if (!llamaPackage) return;
  const llama = await bareLlama();
  afterAll(() => llama.dispose());

  test.each(['exact', 'tiny'] as const)('a generated model speaks words, for long without repeating itself: %s', async (preset) => {
    const model = await llama.loadModel({ modelPath: await modelFile(preset, cacheFolder()), gpuLayers: 0 });
    const context = await bareContext(model, { sequences: 1 });
    const words = spokenIds.filter((id) => pieces[id]!.length > 4).slice(0, 30);
    const prompt = [1, ...model.tokenize(words.map((id) => pieces[id]!.slice(1)).join(' '))];
    expect(prompt.slice(1)).toEqual(words);
    const tokens = await continued(context.getSequence(), prompt, 600);
    expect(tokens.filter((id) => !spokenIds.includes(id))).toEqual([]);
    expect(periodOf(tokens)).toBeUndefined();
    expect(model.detokenize(tokens.slice(0, 50))).toMatch(/^[a-z., ]+$/);
    await model.dispose();
  });

  test.each([false, true])(
    'a saved sequence is read, and goes on among another number of sequences (flash attention: %s)',
    async (flashAttention) => {
      const model = await llama.loadModel({ modelPath: await modelFile('exact', cacheFolder()), gpuLayers: 0 });
      const source = await bareContext(model, { sequences: 3, flashAttention });
      source.getSequence();
      const sequence = source.getSequence();
      const prompt = [1, ...model.tokenize('when the ship went east over the sea it was in a great storm')];
      const before = await continued(sequence, prompt, 40);
      const path = join(folder, `state-${flashAttention}`);
      await sequence.saveStateToFile(path);
      const after = await continued(sequence, [...prompt, ...before], 60);

      const bytes = readFileSync(path);
      const limits = { vocabularySize: pieces.length, contextTokens: 1024 };
      const state = readStateFile(bytes, limits) as StateFile;
      expect(state).toMatchObject({
        streams: 3,
        shape: { layers: 4, kType: 1, vType: 1, kCellBytes: 52, vCellBytes: 52, vTransposed: !flashAttention },
      });
      expect(state.tokenIds).toEqual([...prompt, ...before].slice(0, state.tokenIds.length));

      const target = await bareContext(model, { sequences: 1, flashAttention });
      const moved = target.getSequence();
      writeFileSync(path, bytes);
      await expect(moved.loadStateFromFile(path, { acceptRisk: true })).rejects.toThrow();
      await moved.dispose();
      const fitting = target.getSequence();
      writeFileSync(path, retargetStreams(bytes, state, 1));
      await fitting.loadStateFromFile(path, { acceptRisk: true });
      expect(fitting.nextTokenIndex).toBe(state.tokenIds.length);
      expect(await continued(fitting, [...prompt, ...before], 60)).toEqual(after);
      await model.dispose();
    },
  );
});
