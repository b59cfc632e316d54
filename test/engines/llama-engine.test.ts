// The llama adapter with a real llama.cpp behind it: what the suite for all adapters (test/conformance) does not ask.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { cacheFolder } from '../../infra/setup/machine-facts.ts';
import { modelFile } from '../../infra/setup/random-model.ts';
import { systemClock } from '../../lib/clock/system-clock.ts';
import { llamaEngineSchema } from '../../lib/config/fleet.ts';
import { randomModel } from '../../lib/engines/llama/gguf/random-model.ts';
import { LlamaEngine } from '../../lib/engines/llama/llama-engine.ts';
import { copyStage, EngineRig, makeLlama, subjects } from '../conformance/engine-rig.ts';
import { llamaMissing, llamaPackage } from './llama-package.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchyard-llama-test-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const subject = subjects.find(({ name }) => name === 'llama');

describe.skipIf(!subject)(`llama engine${llamaMissing}`, () => {
  const start = () => EngineRig.start(subject!);
  const childOf = (rig: EngineRig) => (rig.engine as LlamaEngine).running!.child;
  const bodyOf = (bytes: Uint8Array) => JSON.parse(Buffer.from(bytes).toString());

  describe('sampling', () => {
    test('the same seed gives the same answer, whoever runs beside it; another seed another one', async () => {
      const rig = await start();
      const hot = { temperature: 0.9, top_k: 0, top_p: 1, min_p: 0, max_tokens: 60 };
      rig.open('alone', { ...hot, seed: 7 });
      const alone = await rig.ended('alone');
      for (const id of ['x', 'y']) rig.open(id, { ...hot, max_tokens: 100 });
      rig.open('again', { ...hot, seed: 7 });
      rig.open('other', { ...hot, seed: 8 });
      expect((await rig.ended('again')).ids).toEqual(alone.ids);
      expect((await rig.ended('other')).ids).not.toEqual(alone.ids);
      expect((await rig.ended('x')).ids).not.toEqual((await rig.ended('y')).ids);
    });

    test.each([
      ['nothing', {}],
      ['presence and frequency', { presence_penalty: 1.5, frequency_penalty: 0.5 }],
      ['repetition', { repetition_penalty: 1.3 }],
      ['a grammar', { grammar: 'root ::= [a-z ]{400}' }],
    ])('an answer sampled with %s goes on from its tokens as if it had never stopped', async (_what, fields) => {
      const rig = await start();
      const asked = { temperature: 0.9, seed: 3, max_tokens: 80, ...fields };
      rig.open('whole', asked);
      const whole = await rig.ended('whole');
      const resumeTokenIds = whole.ids.slice(0, 33);
      rig.stream('rest', 2).ids.push(...resumeTokenIds);
      rig.open('rest', asked, { epoch: 2, resumeTokenIds, resumeText: '', nextIndex: 33 });
      const rest = await rig.ended('rest', 2);
      expect([rest.gaps, rest.ids]).toEqual([0, whole.ids]);
    });

    test('penalties keep words from coming again', async () => {
      const rig = await start();
      const asked = { temperature: 0.7, seed: 5, max_tokens: 200 };
      rig.open('free', asked);
      rig.open('new', { ...asked, presence_penalty: 2, frequency_penalty: 2 });
      const distinct = async (id: string) => new Set((await rig.ended(id)).ids).size;
      expect(await distinct('new')).toBeGreaterThan((await distinct('free')) + 20);
    });

    test('a token that is made likely comes; one that ends the answer ends it, unless that is to be ignored', async () => {
      const rig = await start();
      const endToken = 2;
      rig.open('end', { max_tokens: 20, logit_bias: { [endToken]: 100 } });
      expect((await rig.ended('end')).end).toMatchObject({ finishReason: 'stop', tokenIds: [], usage: { outputTokens: 0 } });
      rig.open('on', { max_tokens: 5, logit_bias: { [endToken]: 100 }, ignore_eos: true });
      const on = await rig.ended('on');
      expect([on.ids, on.shown, on.end!.finishReason]).toEqual([[2, 2, 2, 2, 2], '', 'length']);
    });
  });

  describe('answers of a given form', () => {
    const schema = {
      type: 'object',
      properties: {
        kind: { enum: ['ship', 'storm'] },
        found: { type: 'boolean' },
        codes: { type: 'array', items: { type: 'boolean' }, minItems: 30, maxItems: 30 },
      },
      required: ['kind', 'found', 'codes'],
    };
    const format = { response_format: { type: 'json_schema', json_schema: { name: 'find', schema } } };

    test('keep to a schema, and end when they are complete', async () => {
      const rig = await start();
      rig.open('r', { temperature: 1, max_tokens: 400, ...format });
      const heard = await rig.ended('r');
      expect(heard.end!.finishReason).toBe('stop');
      expect(JSON.parse(heard.text)).toEqual({ kind: expect.stringMatching(/^(ship|storm)$/), found: expect.any(Boolean), codes: expect.any(Array) });
      expect(JSON.parse(heard.text).codes).toHaveLength(30);
    });

    test('keep to it when they go on elsewhere in the middle', async () => {
      const [source, target] = [await start(), await start()];
      const asked = { temperature: 1, seed: 4, max_tokens: 400, ...format };
      source.open('whole', asked);
      const whole = await source.ended('whole');
      source.open('r', asked);
      await source.time.until(() => source.stream('r').ids.length > 10);
      target.kv.reserve({ reservationId: 'm', requestId: 'r', epoch: 2, blocks: 20, ttlMs: 5_000, purpose: 'migration', transferToken: 't' });
      const moved = await copyStage(source, target, { requestId: 'r', reservationId: 'm', transferToken: 't', last: true });
      if ('code' in moved) throw new Error(moved.message);
      target.stream('r', 2).ids.push(...source.stream('r').ids);
      target.open('r', {}, { epoch: 2, reservationId: 'm', body: new Uint8Array(0), nextIndex: moved.stage.nextIndex });
      source.kv.release('r', 1, true);
      expect((await target.ended('r', 2)).ids).toEqual(whole.ids);
    });

    test('a character of several tokens is shown when it is whole', async () => {
      const rig = await start();
      rig.open('r', { max_tokens: 60, grammar: 'root ::= "é"{3} "😀"{2}' });
      const heard = await rig.ended('r');
      expect([heard.text, heard.shown, heard.end!.finishReason]).toEqual(['ééé😀😀', 'ééé😀😀', 'stop']);
      expect(heard.ids.length).toBeGreaterThan(5);
      expect(heard.data).not.toContain('\uFFFD');
    });

    test('a grammar that cannot be read is refused', async () => {
      const rig = await start();
      expect(await rig.refused('r', { grammar: 'root ::= nothing' })).toMatchObject({ code: 'invalid_request' });
      rig.open('after', { max_tokens: 2 });
      expect((await rig.ended('after')).ids).toHaveLength(2);
    });
  });

  describe('with a model whose template knows tools', () => {
    const parameters = { type: 'object', properties: { kind: { enum: ['ship', 'storm'] }, near: { type: 'boolean' } }, required: ['kind', 'near'] };
    const tools = [{ type: 'function', function: { name: 'find', parameters } }];
    const forced = { tools, tool_choice: 'required', max_tokens: 100 };

    async function withTools(): Promise<EngineRig> {
      const chatTemplate = '{% for tool in tools %}{{ tool.function.name }} {% endfor %}{% for m in messages %}{{ m.content }}{% endfor %}';
      const file = join(folder, 'tools.gguf');
      writeFileSync(file, randomModel('exact', { chatTemplate }));
      return EngineRig.start({ ...subject!, start: () => ({ ...subject!.start(), make: (hooks) => makeLlama(hooks, file) }) });
    }

    test('a call that is wanted comes as one, streamed or whole', async () => {
      const rig = await withTools();
      rig.open('whole', forced, { clientStreams: false });
      const [choice] = bodyOf((await rig.ended('whole')).end!.finalBody).choices;
      expect(choice).toMatchObject({ finish_reason: 'tool_calls', message: { content: null } });
      const [call] = choice.message.tool_calls;
      expect(call).toMatchObject({ id: 'call_whole_0', type: 'function', function: { name: 'find' } });
      const given = JSON.parse(call.function.arguments);
      expect(given).toEqual({ kind: expect.stringMatching(/^(ship|storm)$/), near: expect.any(Boolean) });
      rig.open('streamed', forced);
      const deltas = (await rig.ended('streamed')).chunks.flatMap((chunk) => chunk.choices[0]?.delta?.tool_calls ?? []);
      expect(deltas[0]).toMatchObject({ index: 0, id: 'call_streamed_0', type: 'function', function: { name: 'find' } });
      expect(deltas.length).toBeGreaterThan(2);
      expect(JSON.parse(deltas.map((delta) => delta.function.arguments).join(''))).toEqual(given);
    });

    test('it goes on elsewhere in the middle, and its pieces still make one call', async () => {
      const rig = await withTools();
      rig.open('whole', forced);
      const whole = await rig.ended('whole');
      const pieces = (heard: typeof whole) =>
        heard.chunks.flatMap((chunk) => chunk.choices[0]?.delta?.tool_calls ?? []).map((delta) => delta.function.arguments);
      for (const cut of [3, Math.floor(whole.ids.length / 2), whole.ids.length - 2]) {
        rig.open('first', { ...forced, max_tokens: cut }, { epoch: cut });
        const first = await rig.ended('first', cut);
        rig.stream('rest', cut).ids.push(...first.ids);
        rig.open('rest', forced, { epoch: cut, resumeTokenIds: first.ids, resumeText: first.text, nextIndex: cut });
        const rest = await rig.ended('rest', cut);
        expect(rest.ids).toEqual(whole.ids);
        expect([...pieces(first), ...pieces(rest)].join('')).toBe(pieces(whole).join(''));
      }
    });
  });

  test('a prompt that begins like one before is computed only from where it differs, and says so', async () => {
    const rig = await start();
    rig.open('first', { max_tokens: 4 });
    const first = await rig.ended('first');
    const computedBefore = rig.engine.status().tokensIn;
    rig.open('second', { max_tokens: 4 }, { clientStreams: false });
    const { usage, finalBody } = (await rig.ended('second')).end!;
    expect([first.end!.usage!.cachedTokens, usage!.cachedTokens]).toEqual([0, usage!.promptTokens - 1]);
    expect(bodyOf(finalBody).usage.prompt_tokens_details).toEqual({ cached_tokens: usage!.cachedTokens });
    expect(rig.engine.status().tokensIn).toBe(computedBefore);
    expect(rig.engine.status().cachedBlocks).toBeGreaterThan(0);
  });

  test('a full context ends the answer with its limit; nothing is forgotten in silence', async () => {
    const rig = await start();
    rig.open('r', {});
    const { end } = await rig.ended('r');
    expect(end).toMatchObject({ finishReason: 'length', usage: { outputTokens: 1024 - end!.usage!.promptTokens } });
  });

  test('a completion of token ids gives what the same text gives', async () => {
    const rig = await start();
    const ask = (prompt: unknown) => ({
      endpoint: 'completions' as const,
      body: Buffer.from(JSON.stringify({ prompt, temperature: 0, max_tokens: 8 })),
    });
    rig.open('chat', { max_tokens: 1 });
    rig.open('text', {}, ask('the ship went east'));
    const text = await rig.ended('text');
    expect(text.chunks[0]).toMatchObject({ object: 'text_completion', choices: [{ text: expect.any(String) }] });
    rig.open('ids', {}, ask(Array.from({ length: 5 }, (_, id) => 300 + id)));
    expect((await rig.ended('ids')).end!.usage).toMatchObject({ promptTokens: 5, outputTokens: 8 });
  });

  describe('an engine whose process dies', () => {
    test('ends its sequences with an error at once, comes back by itself, and says so in between', async () => {
      const rig = await start();
      const ids = Array.from({ length: 6 }, (_, index) => `r${index}`);
      for (const id of ids) rig.open(id, { max_tokens: 900 });
      await rig.time.until(() => ids.filter((id) => rig.stream(id).ids.length > 3).length === 4);
      rig.kv.reserve({ reservationId: 'm', requestId: 'q', epoch: 2, blocks: 2, ttlMs: 60_000, purpose: 'migration', transferToken: 't' });
      process.kill(childOf(rig).pid!, 'SIGKILL');
      for (const id of ids) expect((await rig.ended(id)).end!.error).toMatchObject({ code: 'engine_unavailable', retryable: true });
      expect(rig.engine.status()).toMatchObject({ running: 0, waiting: 0, reservedBlocks: 0 });
      expect(rig.engine.size).toBe(0);
      expect(rig.open('early')).toMatchObject({ code: 'engine_unavailable', retryable: true });
      expect(await rig.engine.probe()).toMatchObject({ code: 'engine_unavailable' });
      await vi.waitUntil(async () => (await rig.engine.probe()) === undefined, { timeout: 20_000 });
      expect(rig.kv.incoming('m', 't')).toMatchObject({ code: 'unknown_reservation' });
      rig.open('after', { max_tokens: 5 });
      expect((await rig.ended('after')).ids).toHaveLength(5);
    });

    test('in the middle of a copy refuses the stage', async () => {
      const rig = await start();
      rig.open('r', { max_tokens: 900 });
      await rig.time.until(() => rig.stream('r').ids.length > 3);
      const stage = rig.kv.beginStage({ requestId: 'r', epoch: 1, reservationId: 'm', last: true, pauseLeaseMs: 5_000 });
      process.kill(childOf(rig).pid!, 'SIGKILL');
      expect(await stage).toHaveProperty('code');
      expect((await rig.ended('r')).end!.error).toMatchObject({ code: 'engine_unavailable' });
    });

    test('ends with the process that opened it, and leaves no states behind', async () => {
      const model = await modelFile('exact', cacheFolder());
      const parent = spawn(process.execPath, [join(import.meta.dirname, 'parent-of-engine.ts'), llamaPackage!, model], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const [said] = await once(parent.stdout, 'data');
      const child = Number(String(said));
      expect(isAlive(child)).toBe(true);
      parent.kill('SIGKILL');
      await vi.waitUntil(() => !isAlive(child), { timeout: 10_000 });
      const places = ['/dev/shm', tmpdir()].filter((place) => existsSync(place));
      const left = () => places.flatMap((place) => readdirSync(place)).filter((name) => name.startsWith(`switchyard-llama-${parent.pid}-`));
      expect(left()).toHaveLength(1);
      const rig = await start();
      expect(left()).toEqual([]);
      await rig.engine.close();
    });
  });

  describe('says why it will never take a request', () => {
    const noFile = join(folder, 'no-such-model.gguf');
    const broken = join(folder, 'broken.gguf');
    const cut = join(folder, 'cut.gguf');
    writeFileSync(broken, 'GGUF, but not really');
    writeFileSync(cut, randomModel('exact').subarray(0, 500_000));

    test.each([
      ['without the package', undefined, noFile, 'npm start installs it'],
      ['without the file', llamaPackage, noFile, 'there is no model file'],
      ['with a file that is no model', llamaPackage, broken, 'cannot be used as a model'],
      ['with a file that was not fetched whole', llamaPackage, cut, 'cannot be used as a model'],
    ])('%s', async (_what, packageDir, file, words) => {
      const hooks = { onEvents: () => {}, onLifecycle: () => {}, onChange: () => {} };
      const config = llamaEngineSchema.parse({});
      const engine = new LlamaEngine({ model: 'm', config, packageDir, modelFile: file, pid: process.pid, clock: systemClock, hooks });
      expect(await engine.ready).toMatchObject({ code: 'invalid_config', message: expect.stringContaining(words) });
      expect(await engine.probe()).toHaveProperty('code');
      await engine.close();
    });

    test('with layers for a GPU, and no variant of llama.cpp for one', async () => {
      const hooks = { onEvents: () => {}, onLifecycle: () => {}, onChange: () => {} };
      const config = llamaEngineSchema.parse({ gpuLayers: 4 });
      const modelPath = await modelFile('exact', cacheFolder());
      const given = { model: 'm', config, packageDir: llamaPackage, modelFile: modelPath, pid: process.pid, clock: systemClock, hooks };
      const engine = new LlamaEngine(given);
      expect(await engine.ready).toMatchObject({ code: 'invalid_config', message: expect.stringContaining('SWITCHYARD_LLAMA_GPU=1') });
      await engine.close();
    });
  });
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
