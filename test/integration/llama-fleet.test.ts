// A whole fleet with real llama.cpp engines: requests that are moved, drained, and robbed of their engine or agent say what they
// would have said anyway. The model is of the shape whose results do not depend on what else is computed.
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CommandFailure } from '../../cli/client.ts';
import { cacheFolder } from '../../infra/setup/machine-facts.ts';
import { modelFile } from '../../infra/setup/random-model.ts';
import type { MigrationsReport, MoveAnswer, StartedAnswer, WorkflowRow } from '../../lib/operator/types.ts';
import { llamaMissing, llamaPackage } from '../engines/llama-package.ts';
import { childrenOf } from '../engines/llama-rig.ts';
import { eventually } from '../support/eventually.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';

const model = 'words';
const streamCount = 4;
const maxTokens = 1_800;
const timeoutMs = 240_000;
const bodyOf = (seed: number) => ({
  model,
  messages: [{ role: 'user', content: `Number ${seed}: what is beyond the hill?` }],
  ...{ max_tokens: maxTokens, temperature: 0.8, seed },
});
const seeds = Array.from({ length: streamCount }, (_, index) => index + 1);

interface Told {
  text: string;
  pieces: number;
  /** As the stream says it; empty: it has ended without. */
  finish: string;
}

describe.skipIf(llamaPackage === undefined)(`a fleet of llama.cpp engines${llamaMissing}`, () => {
  let fleet: Fleet;
  /** What each request says when nothing happens to it. */
  let references: readonly string[];
  beforeAll(async () => {
    const file = await modelFile('exact', cacheFolder());
    fleet = await startFleet({
      pools: [{ id: 'words', models: [model], engine: 'llama', instances: 3, max: 3, llama: { model: file, contextTokens: 2048, maxRunning: 8 } }],
      settings: { agent: { llamaPackage }, 'migration-coordinator': { mode: 'off', followFromBytes: 300_000 } },
    });
    references = await Promise.all(
      seeds.map(async (seed) => {
        const response = await ask({ ...bodyOf(seed), stream: false });
        const answer = (await response.json()) as { choices: [{ message: { content: string }; finish_reason: string }] };
        expect(answer.choices[0].finish_reason).toBe('length');
        return answer.choices[0].message.content;
      }),
    );
  }, timeoutMs);
  afterAll(() => fleet?.stop());

  const ask = (body: object) =>
    fetch(`${fleet.gatewayUrl}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });

  /** Reads a stream to its end. @throws Error with an error that it tells */
  async function listen(seed: number, told: Told): Promise<void> {
    const response = await ask({ ...bodyOf(seed), stream: true });
    expect(response.status).toBe(200);
    let rest = '';
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + chunk).split('\n\n');
      rest = parts.pop()!;
      for (const data of parts.map((part) => part.slice('data: '.length)).filter((data) => data !== '[DONE]')) {
        const { choices, error } = JSON.parse(data);
        if (error) throw new Error(`the stream says: ${JSON.stringify(error)}`);
        told.text += choices[0]?.delta?.content ?? '';
        told.pieces++;
        told.finish = choices[0]?.finish_reason ?? told.finish;
      }
    }
  }

  /** All on the first instance, told so far. */
  async function openOnFirst(): Promise<{ tolds: readonly Told[]; over: Promise<unknown> }> {
    const operator = fleet.client('test');
    const cordoned = (count: number) =>
      eventually(`${count} cordoned`, 20_000, async () => {
        const rows = await fleet.instances();
        return { ok: rows.filter((row) => row.cordoned).length === count && rows.every((row) => row.health === 'healthy'), seen: rows };
      });
    for (const { id, cordoned: is } of await fleet.instances()) if (is) await operator.post('/undrain', { instance: id });
    await cordoned(0);
    for (const instance of ['words-2', 'words-3']) await operator.post('/drain', { instance });
    await cordoned(2);
    const tolds = seeds.map((): Told => ({ text: '', pieces: 0, finish: '' }));
    const over = Promise.all(seeds.map((seed, index) => listen(seed, tolds[index]!)));
    over.catch(() => {});
    await eventually('all streams have begun', 30_000, () => ({
      ok: tolds.every(({ pieces }) => pieces > 10),
      seen: tolds.map(({ pieces }) => pieces),
    }));
    for (const instance of ['words-2', 'words-3']) await operator.post('/undrain', { instance });
    return { tolds, over };
  }

  async function expectExact({ tolds, over }: { tolds: readonly Told[]; over: Promise<unknown> }): Promise<void> {
    await over;
    expect(tolds.map(({ finish }) => finish)).toEqual(seeds.map(() => 'length'));
    expect(tolds.map(({ text }) => text)).toEqual(references);
  }

  test('requests that are moved again and again say the same', { timeout: timeoutMs }, async () => {
    const operator = fleet.client('mover');
    const streams = await openOnFirst();
    let running = true;
    const modes = new Map<string, number>();
    async function mover(): Promise<void> {
      while (running) {
        const rows = (await fleet.requests()).filter((row) => row.state === 'streaming').sort((a, b) => a.migrations - b.migrations);
        if (rows.length === 0) continue;
        try {
          const { plan } = await operator.post<MoveAnswer>('/migrate', { request: rows[0]!.id, to: '' });
          modes.set(plan.mode, (modes.get(plan.mode) ?? 0) + 1);
        } catch (thrown) {
          if (!(thrown instanceof CommandFailure)) throw thrown;
        }
      }
    }
    const movers = [mover(), mover()];
    try {
      await expectExact(streams);
    } finally {
      running = false;
      await Promise.all(movers);
    }
    await eventually('no move is going on', 30_000, async () => {
      const { active } = await operator.get<MigrationsReport>('/migrations');
      return { ok: active.length === 0, seen: active };
    });
    const { committed, aborted, recent } = await operator.get<MigrationsReport>('/migrations');
    console.log(`${committed} moves of ${streamCount} streams committed, ${aborted} aborted; planned: ${JSON.stringify(Object.fromEntries(modes))}`);
    expect(committed).toBeGreaterThan(0);
    const codes = new Set(recent.map(({ code }) => code).filter((code) => code !== ''));
    expect([...codes].filter((code) => !['sequence_finished', 'unknown_request'].includes(code))).toEqual([]);
  });

  test('an instance is drained: its requests say the same elsewhere', { timeout: timeoutMs }, async () => {
    const operator = fleet.client('test');
    const streams = await openOnFirst();
    const { workflowId } = await operator.post<StartedAnswer>('/drain', { instance: 'words-1' });
    let ended: WorkflowRow | undefined;
    await eventually('the drain ends', 60_000, async () => {
      ended = await operator.get<WorkflowRow>(`/workflows/${workflowId}`);
      return { ok: ended.status !== 'running', seen: ended };
    });
    expect(ended?.result).toMatchObject({ outcome: 'empty', left: 0 });
    await expectExact(streams);
  });

  test("kill -9 of an engine's process: its requests go on elsewhere, the agent lives on and has an engine again", {
    timeout: timeoutMs,
  }, async () => {
    const streams = await openOnFirst();
    const agent = fleet.pid('agent-words-1');
    const [engine] = childrenOf(agent);
    process.kill(engine!, 'SIGKILL');
    await expectExact(streams);
    await eventually('a new engine of the same agent', 30_000, () => {
      const children = childrenOf(agent);
      return { ok: children.length === 1 && children[0] !== engine, seen: children };
    });
    await expectExact(await openOnFirst());
  });

  test('kill -9 of an agent: its requests go on elsewhere, its engine ends with it', { timeout: timeoutMs }, async () => {
    const streams = await openOnFirst();
    const [engine] = childrenOf(fleet.pid('agent-words-1'));
    await fleet.kill('agent-words-1');
    await expectExact(streams);
    await eventually('the engine is gone', 20_000, () => {
      const name = nameOf(engine!);
      return { ok: name === undefined, seen: name };
    });
  });
});

/** Undefined: no such process. */
function nameOf(pid: number): string | undefined {
  try {
    const [, name, state] = /^\d+ \((.*)\) (.)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))!;
    return state === 'Z' ? undefined : name;
  } catch {
    return undefined;
  }
}
