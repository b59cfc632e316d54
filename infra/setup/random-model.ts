// Models with random weights, generated once and kept: complete or not at all, whoever else generates the same at once.
import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generatorVersion, type RandomPreset, randomModel } from '../../lib/engines/llama/gguf/random-model.ts';

/** The file of a preset under `cacheDir` (machine-facts.ts: cacheFolder), written if it is not there. `medium`: 78 MB, a second. */
export async function modelFile(preset: RandomPreset, cacheDir: string, options: { readonly seed?: number } = {}): Promise<string> {
  const { seed = 1 } = options;
  const folder = join(cacheDir, 'models');
  const path = join(folder, `random-${preset}-${generatorVersion}${seed === 1 ? '' : `-seed${seed}`}.gguf`);
  if (await isThere(path)) return path;
  await mkdir(folder, { recursive: true });
  const bytes = randomModel(preset, { seed });
  const unfinished = `${path}.${randomUUID()}`;
  try {
    await writeFile(unfinished, bytes);
    await rename(unfinished, path);
  } finally {
    await rm(unfinished, { force: true });
  }
  return path;
}

async function isThere(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
