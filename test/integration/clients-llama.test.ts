// Client libraries over engines of llama.cpp: what people run, through the whole of Switchyard.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cacheFolder } from '../../infra/setup/machine-facts.ts';
import { modelFile } from '../../infra/setup/random-model.ts';
import type { MoveAnswer } from '../../lib/operator/types.ts';
import { llamaMissing, llamaPackage } from '../engines/llama-package.ts';
import { aiClients, statusOf } from '../support/ai-clients.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';

const model = 'words';
const prompt = 'Tell me a story';
const longTokens = 2_000;
const contextTokens = 3_072;
const names = aiClients('http://127.0.0.1').map(({ name }) => name);
const weather = {
  type: 'object',
  properties: { city: { type: 'string', maxLength: 12 }, warm: { type: 'boolean' } },
  required: ['city', 'warm'],
  additionalProperties: false,
} as const;

describe.skipIf(llamaPackage === undefined)(`clients of llama.cpp${llamaMissing}`, () => {
  let fleet: Fleet;
  /** What the model says to the prompt, once and for all: it is asked greedily. */
  let whole: string;
  beforeAll(async () => {
    const file = await modelFile('exact', cacheFolder());
    fleet = await startFleet({
      pools: [{ id: 'words', models: [model], engine: 'llama', instances: 2, llama: { model: 'random:exact', contextTokens, maxRunning: 4 } }],
      settings: { agent: { llamaPackage, models: { 'random:exact': file } } },
    });
    whole = (await clientOf(names[0]!).ask({ model, prompt, maxTokens: longTokens })).text;
  });
  afterAll(() => fleet?.stop());

  const clientOf = (name: string) => aiClients(`${fleet.gatewayUrl}/v1`).find((client) => client.name === name)!;

  /** The instance of the only request that runs. */
  async function runningOn(): Promise<{ request: string; instance: string }> {
    const [row] = (await fleet.requests()).filter(({ state }) => state === 'streaming');
    if (!row) throw new Error('no request is streaming');
    return { request: row.id, instance: row.instance };
  }

  async function ended(what: string, match: { state: string; migrations?: number; failovers?: number }): Promise<void> {
    await eventually(what, 10_000, async () => {
      const rows = await fleet.requests(true);
      return { ok: rows.some((row) => Object.entries(match).every(([key, value]) => row[key as 'state'] === value)), seen: rows.slice(0, 3) };
    });
  }

  describe.each(names)('%s', (name) => {
    test('gets a whole answer with its usage', async () => {
      const answer = await clientOf(name).ask({ model, prompt, maxTokens: 40 });
      expect(answer).toMatchObject({ finish: 'length', outputTokens: 40 });
      expect(answer.text.length).toBeGreaterThan(40);
      expect(whole.startsWith(answer.text)).toBe(true);
    });

    test('streams, while the request moves to another engine', async () => {
      let moved: Promise<MoveAnswer> | undefined;
      const answer = await clientOf(name).stream({ model, prompt, maxTokens: longTokens }, async (count) => {
        if (count !== 10) return;
        const { request } = await runningOn();
        moved = fleet.client('test').post<MoveAnswer>('/migrate', { request, to: '' });
        moved.catch(() => {});
      });
      await moved;
      expect(answer.text).toBe(whole);
      expect(answer).toMatchObject({ finish: 'length', outputTokens: longTokens });
      await ended('a completed request that was moved', { state: 'completed', migrations: 1 });
    });

    test('leaves in the middle: the engine stops', async () => {
      const leaving = new AbortController();
      const reading = clientOf(name).stream({ model, prompt, maxTokens: longTokens, signal: leaving.signal }, (count) => {
        if (count === 5) leaving.abort();
      });
      await expect(reading).rejects.toThrow();
      await eventually('nothing runs any more', 3_000, async () => {
        const rows = await fleet.instances();
        return { ok: rows.every(({ running, queued }) => running === 0 && queued === 0), seen: rows.map(({ id, running }) => `${id} ${running}`) };
      });
    });

    test('gets an answer that keeps to a schema', async () => {
      const answer = await clientOf(name).structured({ model, prompt: 'The weather in Rome', maxTokens: 200 }, weather);
      expect(answer).toEqual({ city: expect.any(String), warm: expect.any(Boolean) });
    });

    test('is told what is wrong, with the status of it', async () => {
      const refusals = await Promise.allSettled([
        clientOf(name).ask({ model: 'nobody', prompt }),
        clientOf(name).ask({ model, prompt: 'long '.repeat(contextTokens), maxTokens: 1 }),
        clientOf(name).tools({ model, prompt }, { name: 'look', description: 'looks', parameters: weather }),
      ]);
      const said = refusals.map((each) =>
        each.status === 'rejected' ? [statusOf(each.reason), String((each.reason as Error).message)] : ['answered'],
      );
      expect(said).toEqual([
        [404, expect.stringContaining('nobody')],
        [400, expect.stringContaining('tokens do not fit any instance')],
        [400, expect.stringContaining('tools')],
      ]);
    });

    test('reads on when the process that serves it is killed', async () => {
      let killed = '';
      const answer = await clientOf(name).stream({ model, prompt, maxTokens: longTokens }, async (count) => {
        if (count !== 10) return;
        const { instance } = await runningOn();
        killed = `agent-${instance}`;
        await fleet.kill(killed);
      });
      fleet.start(killed);
      expect(answer.text).toBe(whole);
      await ended('a completed request that was continued elsewhere', { state: 'completed', failovers: 1 });
      await fleet.whole();
    });
  });

  test('every client repeats a request that nobody could take, and gets its answer when somebody can', async () => {
    const agents = ['agent-words-1', 'agent-words-2'];
    await Promise.all(agents.map((id) => fleet.kill(id)));
    const none = await clientOf(names[0]!).ask({ model, prompt, maxTokens: 5 }).catch(statusOf);
    expect(none).toBe(503);
    const asked = names.map((name) => clientOf(name).ask({ model, prompt, maxTokens: 5, retries: 8 }));
    for (const id of agents) fleet.start(id);
    const answers = await Promise.all(asked);
    expect(answers.map(({ text }) => whole.startsWith(text))).toEqual([true, true, true]);
  });
});
