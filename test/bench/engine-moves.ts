// What clients notice when an instance with real llama.cpp engines is emptied: the gap in each of its four streams, by length and by
// way of moving, beside the time of a token and of a round trip: `npm run bench:engines`.
import { Agent, type Dispatcher } from 'undici';
import { provideLlama } from '../../infra/setup/llama-package.ts';
import { ModelError, provideModel } from '../../infra/setup/models.ts';
import { createProgress } from '../../infra/setup/progress.ts';
import type { Journey } from '../../lib/operator/types.ts';
import { eventually } from '../support/eventually.ts';
import { createMover, type Mover, type MoveWay } from './harness/moves.ts';
import { type OurFleet, startOurFleet } from './harness/our-fleet.ts';
import type { PriceTable } from './harness/report.ts';
import { type BenchRun, runBench } from './harness/run-bench.ts';
import { median } from './harness/statistics.ts';
import { gapsWithin, longestOf, openTokenStream, type TokenStream } from './harness/token-stream.ts';

const streamCount = 4;
const contextTokens = 4096;
const ways: readonly MoveWay[] = ['follow', 'stop-and-copy', 'recompute'];
const tokensBetween = 20;
/** Last pieces of a stream that the time of a token is taken from. */
const piecesToTime = 50;
/** Computing four long contexts again takes a minute on a busy machine. */
const goesOnWithinMs = 300_000;
/** By part of this bench: what pools call the model, ids that prompts are made of, and how long these are. */
const models = {
  exact: { model: 'random:exact', ids: { from: 360, count: 770 }, lengths: { full: [200, 500, 1_000, 2_000], short: [200, 2_000] } },
  medium: { model: 'random:medium', ids: { from: 360, count: 770 }, lengths: { full: [200, 500, 1_000, 2_000], short: [200] } },
  smollm2: { model: 'smollm2', ids: { from: 1_000, count: 20_000 }, lengths: { full: [200, 500, 1_000], short: [200] } },
} as const;
type ModelName = keyof typeof models;

interface Rig {
  readonly ours: OurFleet;
  readonly mover: Mover;
  readonly client: Dispatcher;
  open(promptTokens: number): Promise<TokenStream>;
}

interface Drained {
  /** Longest in each stream, from the start of the moves until all go on. */
  readonly gapsMs: readonly number[];
  /** In each stream, where the target's first token came. */
  readonly handOversMs: readonly number[];
  readonly tokenMs: number;
  /** Prompt and output when the moves began. */
  readonly tokensEach: number;
  readonly roundTripMs: number;
  readonly megabytes: number;
  readonly aborted: number;
}

const length = ({ startMs, endMs }: { startMs: number; endMs: number }) => endMs - startMs;

async function drainOnce(rig: Rig, streams: readonly TokenStream[], way: MoveWay, tokens: number): Promise<Drained> {
  await Promise.all(streams.map((stream) => stream.more(tokensBetween, goesOnWithinMs)));
  const roundTripMs = await roundTrip(rig.client);
  const requests = await rig.mover.find();
  // By pieces and not by gaps between them: a fast engine's tokens come several at once.
  const tokenTimesMs = streams.map(({ cameMs, tokensBy }) => {
    const from = Math.max(0, cameMs.length - 1 - piecesToTime);
    return (cameMs.at(-1)! - cameMs[from]!) / (tokensBy.at(-1)! - tokensBy[from]!);
  });
  const tokensEach = streams.map(({ tokensBy }) => tokens + tokensBy.at(-1)!);
  const startMs = performance.now();
  const outcomes = await Promise.all(streams.map((stream) => rig.mover.move(requests.get(stream.requestId)!, way, tokens + stream.tokensBy.at(-1)!)));
  await Promise.all(streams.map((stream) => stream.more(tokensBetween / 2, goesOnWithinMs)));
  const endMs = performance.now();
  const openedMs = await Promise.all(streams.map(({ requestId }) => lastOpened(rig.ours, requestId)));
  return {
    gapsMs: streams.map(({ cameMs }) => length(longestOf(gapsWithin(cameMs, startMs, endMs))!)),
    handOversMs: streams.map(({ cameMs }, index) => length(gapsWithin(cameMs, openedMs[index]!, Number.POSITIVE_INFINITY)[0]!)),
    tokenMs: median(tokenTimesMs),
    tokensEach: median(tokensEach),
    roundTripMs,
    megabytes: outcomes.reduce((sum, { bytes }) => sum + bytes, 0) / 1e6,
    aborted: outcomes.filter(({ outcome }) => outcome === 'aborted').length,
  };
}

/** When the gateway opened the stream that speaks now, by performance.now(), ms. */
async function lastOpened({ fleet }: OurFleet, requestId: string): Promise<number> {
  const { spans } = await fleet.client('bench').get<Journey>(`/trace/${requestId}`);
  const last = spans.findLast(({ name, service }) => name === 'stream' && service === 'gateway');
  if (!last) throw new Error(`no stream of ${requestId} in its trace`);
  return last.startMs - performance.timeOrigin;
}

/** To the gateway and back, ms: the least that an order to another process costs. */
async function roundTrip(client: Dispatcher): Promise<number> {
  const times: number[] = [];
  for (let count = 0; count < 30; count++) {
    const startMs = performance.now();
    const { body } = await client.request({ method: 'GET', path: '/liveness' });
    await body.dump();
    times.push(performance.now() - startMs);
  }
  return median(times);
}

/** All on the first instance. */
async function openTogether(rig: Rig, tokens: number): Promise<TokenStream[]> {
  const operator = rig.ours.fleet.client('bench');
  const cordoned = (ok: boolean) =>
    eventually('what the second instance takes', 20_000, async () => {
      const rows = await rig.ours.fleet.instances();
      return { ok: rows.some(({ id, cordoned: is }) => id === 'chat-2' && is) === ok, seen: rows.length };
    });
  await operator.post('/drain', { instance: 'chat-2' });
  await cordoned(true);
  const streams = await Promise.all(Array.from({ length: streamCount }, () => rig.open(tokens)));
  await operator.post('/undrain', { instance: 'chat-2' });
  await cordoned(false);
  return streams;
}

async function measured(rig: Rig, name: string, lengths: readonly number[], repeats: number, say: BenchRun['say']): Promise<PriceTable> {
  const rows: (string | number | null)[][] = [];
  // Not counted: the first moves load Temporal's client, and code that has not run.
  const first = await openTogether(rig, 50);
  for (const way of ways) await drainOnce(rig, first, way, 50);
  for (const stream of first) stream.close();
  for (const tokens of lengths) {
    let streams = await openTogether(rig, tokens);
    for (const way of ways) {
      say(`${name}, ${tokens} tokens, ${way}`);
      const drained: Drained[] = [];
      for (let repeat = 0; repeat < repeats; repeat++) {
        if (streams.some(({ tokensBy }) => tokens + (tokensBy.at(-1) ?? 0) > contextTokens / 2 + tokens / 2)) {
          for (const stream of streams) stream.close();
          streams = await openTogether(rig, tokens);
        }
        drained.push(await drainOnce(rig, streams, way, tokens));
      }
      const gapsMs = drained.flatMap((once) => once.gapsMs);
      const tokenMs = median(drained.map((once) => once.tokenMs));
      const roundTripMs = median(drained.map((once) => once.roundTripMs));
      rows.push([
        median(drained.map((once) => once.tokensEach)),
        way,
        ...[median(gapsMs), Math.max(...gapsMs), median(drained.flatMap((once) => once.handOversMs))],
        ...[median(gapsMs) / tokenMs, tokenMs, roundTripMs],
        3 * tokenMs + 2 * roundTripMs,
        median(drained.map((once) => once.megabytes)),
        drained.reduce((sum, once) => sum + once.aborted, 0),
      ]);
    }
    for (const stream of streams) stream.close();
  }
  return {
    title: `Emptying an instance with four streams: ${name}`,
    columns: [
      'tokens',
      'way',
      'gap, ms',
      'at most',
      'at the hand-over, ms',
      'in token times',
      'token, ms',
      'round trip, ms',
      'three tokens and two round trips, ms',
      'MB of the four',
      'aborted',
    ],
    rows,
    notes: [
      `two llama.cpp engines (CPU, one thread each), ${streamCount} streams moved at the same moment from one to the other, ${repeats} times back and forth`,
      'gap: the longest between two tokens of a stream at its client while all were moved; median and maximum over streams and repeats',
      'at the hand-over: the gap in which the gateway opened the stream at the target, median. The longest is often another, while states are saved',
      'token: mean time of a token before the moves, with four in the batch. Round trip: from the client to the gateway and back, HTTP',
      'tokens: of prompt and output when the moves began',
    ],
  };
}

async function startRig(name: ModelName, llamaPackage: string, atEnd: BenchRun['atEnd'], root: string): Promise<Rig> {
  const { model, ids } = models[name];
  const file = await provideModel(model, root, createProgress(), { onlyFound: true });
  const ours = await startOurFleet({
    pools: [
      {
        ...{ id: 'chat', models: [name], engine: 'llama', instances: 2, max: 2 },
        llama: { model: file, contextTokens, maxRunning: streamCount * 2, prefixCache: false },
      },
    ],
    settings: { 'migration-coordinator': { mode: 'off' } },
    env: { SWITCHYARD_AGENT_LLAMA_PACKAGE: llamaPackage },
  });
  atEnd(() => ours.fleet.stop());
  const mover = await createMover(ours.fleet, 'state');
  atEnd(() => mover.close());
  const agent = new Agent({ connections: 256, pipelining: 1, bodyTimeout: 0, headersTimeout: 0 });
  atEnd(() => agent.destroy());
  const client: Dispatcher = agent.compose((dispatch) => (request, handler) => dispatch({ ...request, origin: ours.fleet.gatewayUrl }, handler));
  let opened = 0;
  const open = (promptTokens: number) =>
    openTokenStream(client, {
      ...{
        headers: ours.headers,
        model: name,
        promptTokens,
        maxTokens: contextTokens - promptTokens - 1,
        seed: ++opened,
        ids,
        firstWithinMs: goesOnWithinMs,
      },
      fields: { ignore_eos: true, temperature: 0.8, seed: opened },
    });
  return { ours, mover, client, open };
}

await runBench('engines', async ({ mode, only, say, atEnd }) => {
  const llamaPackage = await provideLlama(createProgress(), { onlyFound: true });
  if (llamaPackage === undefined) throw new Error('node-llama-cpp is not here: npm start installs it');
  const full = mode === 'full';
  const tables: PriceTable[] = [];
  for (const name of Object.keys(models) as ModelName[]) {
    if (only.length > 0 && !only.includes(name)) continue;
    const endings: (() => Promise<unknown> | undefined)[] = [];
    const endAll = async () => {
      for (const ending of endings.splice(0).reverse()) await ending();
    };
    atEnd(endAll);
    try {
      const rig = await startRig(name, llamaPackage, (ending) => endings.push(ending), `${import.meta.dirname}/../..`);
      tables.push(await measured(rig, name, models[name].lengths[mode], full ? 2 : 1, say));
    } catch (thrown) {
      if (!(thrown instanceof ModelError)) throw thrown;
      say(`left out: ${thrown.message}`);
    } finally {
      await endAll();
    }
  }
  return tables;
});
