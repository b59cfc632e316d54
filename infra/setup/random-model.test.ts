import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { randomModel } from '../../lib/engines/llama/gguf/random-model.ts';
import { modelFile } from './random-model.ts';

const cache = mkdtempSync(join(tmpdir(), 'switchyard-models-'));
afterEach(() => rmSync(cache, { recursive: true, force: true }));

test('a model is written once, whole, and nothing else is left', { timeout: 60_000 }, async () => {
  const [one, other] = await Promise.all([modelFile('exact', cache), modelFile('exact', cache)]);
  expect(one).toBe(other);
  expect(readdirSync(join(cache, 'models'))).toHaveLength(1);
  expect(Buffer.compare(readFileSync(one), randomModel('exact'))).toBe(0);
  expect(await modelFile('exact', cache)).toBe(one);
  expect(await modelFile('exact', cache, { seed: 2 })).not.toBe(one);
});
