import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { loadFleet } from './load-fleet.ts';
import { serverAddresses } from './own-servers.ts';
import { prepareEngines } from './prepare-engines.ts';
import type { Progress } from './progress.ts';
import { parseSettings, type StartSettings } from './settings.ts';

const sim = { id: 'chat', models: ['llama'], instances: 2, sim: { profile: 'llama-3.1-8b-h100' } };
const real = { id: 'random', models: ['words'], engine: 'llama', instances: 2, llama: { model: 'random:exact' } };

let folder: string;
let said: string[];

const progress: Progress = {
  step: () => ({ doing: () => {}, done: (text) => said.push(text), skipped: (text) => said.push(text), failed: (text) => said.push(text) }),
  say: (text) => said.push(text),
  close: () => {},
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'switchyard-prepare-'));
  said = [];
  mkdirSync(join(folder, 'config'));
  writeFileSync(join(folder, 'config/router.yaml'), '{}');
  // What stands for llama.cpp here: only that it is there is looked at.
  mkdirSync(join(folder, 'llama/node_modules/node-llama-cpp/dist'), { recursive: true });
  writeFileSync(join(folder, 'llama/node_modules/node-llama-cpp/dist/index.js'), '');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function settings(pools: unknown[], args: string[] = [], env: NodeJS.ProcessEnv = {}): StartSettings {
  writeFileSync(join(folder, 'config/fleet.yaml'), stringify({ pools }));
  const flags = ['--config', join(folder, 'config'), '--state', join(folder, 'state'), ...args];
  const given = { XDG_CACHE_HOME: join(folder, 'cache'), SWITCHYARD_AGENT_LLAMA_PACKAGE: join(folder, 'llama'), INIT_CWD: folder, PATH: '', ...env };
  return { ...parseSettings(folder, flags, given), ...(env.SWITCHYARD_ENGINES && { engines: env.SWITCHYARD_ENGINES }) };
}

describe('engines of one start', () => {
  test('nothing but simulated ones: fleet.yaml as it is', async () => {
    const prepared = await prepareEngines(settings([sim]), progress);
    expect(prepared).toMatchObject({ configFolder: join(folder, 'config'), agentEnv: {} });
    expect(said).toEqual([]);
  });

  test('agents are told where llama.cpp and the models are', async () => {
    const { agentEnv, configFolder, fleet } = await prepareEngines(settings([real, sim]), progress);
    expect(fleet.pools.map(({ id }) => id)).toEqual(['random', 'chat']);
    expect(configFolder).toBe(join(folder, 'config'));
    expect(agentEnv.SWITCHYARD_AGENT_LLAMA_PACKAGE).toBe(join(folder, 'llama'));
    const models = JSON.parse(agentEnv.SWITCHYARD_AGENT_MODELS as string) as Record<string, string>;
    expect(
      readFileSync(models['random:exact'] as string)
        .subarray(0, 4)
        .toString(),
    ).toBe('GGUF');
  });

  test('without llama.cpp its pools are left out, services read a fleet without them, and their own settings as before', async () => {
    const { fleet, configFolder } = await prepareEngines(
      settings([real, sim], [], { SWITCHYARD_AGENT_LLAMA_PACKAGE: join(folder, 'nowhere') }),
      progress,
    );
    expect(fleet.pools.map(({ id }) => id)).toEqual(['chat']);
    expect(loadFleet(configFolder)).toEqual(fleet);
    expect(readFileSync(join(configFolder, 'router.yaml'), 'utf8')).toBe('{}');
    expect(said.join('\n')).toMatch(/SWITCHYARD_AGENT_LLAMA_PACKAGE is .*\n {2}pool random is left out: llama.cpp is not to be had/);
  });

  test('a model that is not there costs its pool alone', async () => {
    const lost = { ...real, id: 'lost', models: ['lost'], llama: { model: 'lost.gguf' } };
    const { fleet } = await prepareEngines(settings([lost, real, sim]), progress);
    expect(fleet.pools.map(({ id }) => id)).toEqual(['random', 'chat']);
    expect(said.join()).toContain(`pool lost is left out: there is no file ${join(folder, 'lost.gguf')}`);
  });

  test('--simulated tries nothing else', async () => {
    const { fleet } = await prepareEngines(settings([real, sim], ['--simulated']), progress);
    expect(fleet.pools.map(({ id }) => id)).toEqual(['chat']);
  });

  test('--model: the file of where the person was, and a clear error', async () => {
    writeFileSync(join(folder, 'Mine-Q4.gguf'), Buffer.from('GGUF\x03\0\0\0'));
    const { fleet, agentEnv } = await prepareEngines(settings([sim], ['--model', 'Mine-Q4.gguf']), progress);
    expect(fleet.pools[0]).toMatchObject({ id: 'own', models: ['mine-q4'], llama: { model: join(folder, 'Mine-Q4.gguf') } });
    expect(agentEnv.SWITCHYARD_AGENT_MODELS).toContain(join(folder, 'Mine-Q4.gguf'));
    await expect(prepareEngines(settings([sim], ['--model', 'none.gguf']), progress)).rejects.toThrow('--model: there is no file');
    const withoutPackage = settings([sim], ['--model', 'Mine-Q4.gguf'], { SWITCHYARD_AGENT_LLAMA_PACKAGE: join(folder, 'nowhere') });
    await expect(prepareEngines(withoutPackage, progress)).rejects.toThrow('--model Mine-Q4.gguf cannot be used: llama.cpp is not to be had');
  });
});

describe('servers of the user', () => {
  let server: Server;
  let url: string;
  let answer: { status: number; body: unknown };
  beforeEach(async () => {
    answer = { status: 200, body: { data: [{ id: 'qwen' }] } };
    server = createServer((request, response) => {
      response.statusCode = request.url === '/v1/models' && request.headers.authorization !== 'Bearer wrong' ? answer.status : 404;
      response.end(JSON.stringify(answer.body));
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(() => new Promise((done) => server.close(done)));

  test('are the whole fleet', async () => {
    const { fleet, configFolder } = await prepareEngines(settings([real, sim], [], { SWITCHYARD_ENGINES: `${url}/v1` }), progress);
    expect(fleet.pools).toHaveLength(1);
    expect(fleet.pools[0]).toMatchObject({ id: 'engines', models: ['qwen'], engine: 'openai', openai: { servers: [{ url }] } });
    expect(loadFleet(configFolder)).toEqual(fleet);
  });

  test.each([
    [{ status: 401, body: {} }, 'it wants a key: set SWITCHYARD_ENGINES_API_KEY'],
    [{ status: 500, body: {} }, 'GET /v1/models answers 500'],
    [{ status: 200, body: { data: [] } }, 'lists no model'],
    [{ status: 200, body: [] }, 'lists no model'],
  ])('%o is refused with its reason', async (given, reason) => {
    answer = given;
    await expect(prepareEngines(settings([sim], [], { SWITCHYARD_ENGINES: url }), progress)).rejects.toThrow(reason);
  });

  test('one that does not answer is named', async () => {
    await expect(prepareEngines(settings([sim], [], { SWITCHYARD_ENGINES: `${url},http://127.0.0.1:1` }), progress)).rejects.toThrow(
      /servers that cannot be used:\n {2}http:\/\/127.0.0.1:1: no answer/,
    );
  });
});

test.each([
  ['http://a:8000/', ['http://a:8000']],
  [' http://a:8000/v1/ , https://b/llm/v1', ['http://a:8000', 'https://b/llm']],
])('%s are the addresses %o', (text, addresses) => {
  expect(serverAddresses(text)).toEqual(addresses);
});

test.each([
  ['a:8000', 'has to begin with http'],
  ['127.0.0.1', 'is not an address'],
  ['http://a,http://a/v1', 'is there twice'],
])('%s is refused', (text, reason) => {
  expect(() => serverAddresses(text)).toThrow(reason);
});
