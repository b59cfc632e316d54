// What moving a running request costs: its own downtime against its length, beside pausing to copy and recomputing; what the other
// sequences of the source notice; how many moves one worker makes a second: `npm run bench:migration`.
import { Agent, type Dispatcher } from 'undici';
import { createMover, type Mover, type MoveWay } from './harness/moves.ts';
import { type OurFleet, startOurFleet } from './harness/our-fleet.ts';
import { costOf } from './harness/process-cost.ts';
import type { PriceTable } from './harness/report.ts';
import { type BenchRun, runBench } from './harness/run-bench.ts';
import { mean, median, percentile } from './harness/statistics.ts';
import { type Gap, gapsWithin, longestOf, openTokenStream, type TokenStream } from './harness/token-stream.ts';

const model = 'bench';
const moveWays: readonly MoveWay[] = ['pre-copy', 'stop-and-copy', 'recompute'];
const kvBytesPerToken = 16_384;
/** Streams beside the one that is moved; the router spreads them. */
const companions = 8;
const tokensBetween = 20;
/** Shorter than the tokens between two moves take: what the last move did to its neighbours is over. */
const settledMs = 500;

interface Rig {
  readonly ours: OurFleet;
  readonly mover: Mover;
  open(promptTokens: number): Promise<TokenStream>;
}

interface Moved {
  readonly downtimeMs: number;
  readonly workerDowntimeMs: number;
  readonly totalMs: number;
  readonly stages: number;
  readonly megabytes: number;
  readonly stepMs: number;
  /** Mean step of the source's other sequences before, and while it copied. */
  readonly othersMs: { readonly before: number[]; readonly during: number[] };
}

const length = ({ startMs, endMs }: Gap) => endMs - startMs;

/** Undefined: it was aborted, and the request goes on where it was. */
async function moveOnce(rig: Rig, subject: TokenStream, others: readonly TokenStream[], way: MoveWay, tokens: number): Promise<Moved | undefined> {
  await subject.more(tokensBetween);
  const requests = await rig.mover.find();
  const request = requests.get(subject.requestId);
  if (!request) throw new Error(`${subject.requestId} is not running`);
  const neighbours = others.filter(({ requestId }) => requests.get(requestId)?.instanceId === request.instanceId);
  const startMs = performance.now();
  const outcome = await rig.mover.move(request, way, tokens + subject.cameMs.length);
  if (outcome.outcome !== 'committed') return undefined;
  await subject.more(tokensBetween / 2);
  const stepMs = median(gapsWithin(subject.cameMs, 0, startMs).slice(-tokensBetween).map(length));
  const longest = longestOf(gapsWithin(subject.cameMs, startMs, performance.now()))!;
  const stepsOf = (fromMs: number, toMs: number) => neighbours.flatMap(({ cameMs }) => gapsWithin(cameMs, fromMs, toMs).map(length));
  return {
    downtimeMs: Math.max(0, length(longest) - stepMs),
    workerDowntimeMs: outcome.downtimeMs,
    totalMs: outcome.totalMs,
    stages: outcome.stages,
    megabytes: outcome.bytes / 1e6,
    stepMs,
    // Until it stands still the source's batch is the same before and during.
    othersMs: { before: stepsOf(startMs - settledMs, startMs), during: stepsOf(startMs, longest.startMs) },
  };
}

async function againstLength(rig: Rig, lengths: readonly number[], repeats: number, say: BenchRun['say']): Promise<PriceTable> {
  const others: TokenStream[] = [];
  for (let index = 0; index < companions; index++) others.push(await rig.open(200));
  const rows: (string | number | null)[][] = [];
  // Not counted: the first move loads Temporal's client, and this process is the stream's reader too.
  const first = await rig.open(100);
  await moveOnce(rig, first, [], 'pre-copy', 100);
  first.close();
  for (const tokens of lengths) {
    say(`${tokens} tokens`);
    const subject = await rig.open(tokens);
    for (const way of moveWays) {
      const moves: Moved[] = [];
      for (let repeat = 0; repeat < repeats; repeat++) {
        const moved = await moveOnce(rig, subject, others, way, tokens);
        if (moved) moves.push(moved);
      }
      const of = (pick: (moved: Moved) => number) => median(moves.map(pick));
      const before = mean(moves.flatMap(({ othersMs }) => othersMs.before));
      const during = mean(moves.flatMap(({ othersMs }) => othersMs.during));
      rows.push([
        tokens,
        way,
        ...[
          of(({ downtimeMs }) => downtimeMs),
          Math.max(...moves.map(({ downtimeMs }) => downtimeMs)),
          of(({ downtimeMs, stepMs }) => downtimeMs / stepMs),
        ],
        ...(way === 'recompute' ? [null] : [of(({ workerDowntimeMs }) => workerDowntimeMs)]),
        ...[of(({ totalMs }) => totalMs), of(({ stages }) => stages), of(({ megabytes }) => megabytes)],
        way === 'pre-copy' ? 100 * (during / before - 1) : null,
        repeats - moves.length,
      ]);
    }
    subject.close();
  }
  for (const stream of others) stream.close();
  return {
    title: 'Moving a request, by its length',
    columns: [
      'tokens',
      'way',
      'downtime, ms',
      'at most',
      'in decode steps',
      'as the worker saw it',
      'total, ms',
      'stages',
      'MB',
      "others' step, %",
      'aborted',
    ],
    rows,
    notes: [
      `median of ${repeats} moves; ${kvBytesPerToken / 1024} KB of KV a token; ${companions} other sequences on two instances, a decode step takes about 26 ms`,
      'downtime: the longest wait of the client between two tokens while it was moved, less an ordinary one. Recompute: until the first token of the target',
      "others' step: how much longer the mean decode step of the source's other sequences was from the start of the move to its pause; a handful of steps at 100 to 1,000 tokens, so 2 or 3 % up and down are noise",
      'total: the workflow, from its start to its end; Temporal is a good part of it',
    ],
  };
}

async function throughput(rig: Rig, atOnce: number, forMs: number): Promise<(string | number)[]> {
  const streams: TokenStream[] = [];
  for (let index = 0; index < atOnce * 2; index++) streams.push(await rig.open(100));
  const found = await rig.mover.find();
  const requests = streams.flatMap(({ requestId }) => found.get(requestId) ?? []);
  const totals: number[] = [];
  const downtimes: number[] = [];
  let aborted = 0;
  const untilMs = performance.now() + forMs;
  const startMs = performance.now();
  const { worker = [], temporal = [], gateway = [] } = rig.ours.pids;
  const cost = await costOf({ worker, temporal, gateway }, () =>
    Promise.all(
      Array.from({ length: atOnce }, async (_, lane) => {
        for (let turn = 0; performance.now() < untilMs; turn++) {
          // Each lane has two requests of its own, so that one has settled when its turn comes again.
          const outcome = await rig.mover.move(requests[lane * 2 + (turn % 2)]!, 'pre-copy', 1_000);
          if (outcome.outcome === 'aborted') aborted += 1;
          else downtimes.push(outcome.downtimeMs);
          totals.push(outcome.totalMs);
        }
      }),
    ),
  );
  const seconds = (performance.now() - startMs) / 1000;
  for (const stream of streams) stream.close();
  const each = (micros: number) => micros / 1000 / totals.length;
  return [
    atOnce,
    ...[
      (totals.length - aborted) / seconds,
      aborted,
      percentile(totals, 0.5),
      percentile(totals, 0.95),
      percentile(downtimes, 0.5),
      percentile(downtimes, 0.95),
    ],
    ...[each(cost.worker), each(cost.temporal)],
  ];
}

async function startRig(atEnd: BenchRun['atEnd']): Promise<Rig> {
  // Without the prefix cache every move copies, or computes, the whole of the sequence.
  const sim = { profile: 'llama-3.1-8b-h100', speed: 0.25, blocks: 2_048, kvBytesPerToken, maxRunning: 64, maxWaiting: 64, prefixCache: false };
  const ours = await startOurFleet({
    pools: [{ id: 'chat', models: [model], instances: 2, max: 2, sim: { ...sim, maxContextTokens: 32_768 } }],
    settings: { 'migration-coordinator': { mode: 'off' } },
  });
  atEnd(() => ours.fleet.stop());
  const mover = await createMover(ours.fleet);
  atEnd(() => mover.close());
  const agent = new Agent({ connections: 256, pipelining: 1, bodyTimeout: 0, headersTimeout: 0 });
  atEnd(() => agent.destroy());
  const client: Dispatcher = agent.compose((dispatch) => (request, handler) => dispatch({ ...request, origin: ours.fleet.gatewayUrl }, handler));
  let opened = 0;
  const open = (promptTokens: number) => openTokenStream(client, { headers: ours.headers, model, promptTokens, maxTokens: 20_000, seed: ++opened });
  return { ours, mover, open };
}

await runBench('migration', async ({ mode, only, say, atEnd }) => {
  const full = mode === 'full';
  const wanted = (part: string) => only.length === 0 || only.includes(part);
  const rig = await startRig(atEnd);
  const tables: PriceTable[] = [];
  if (wanted('length')) tables.push(await againstLength(rig, full ? [100, 500, 1_000, 2_000, 4_000, 8_000] : [100, 2_000], full ? 5 : 2, say));
  if (!wanted('throughput')) return tables;
  const rows: (string | number)[][] = [];
  for (const atOnce of full ? [1, 4, 8, 16] : [4]) {
    say(`${atOnce} moves at a time`);
    rows.push(await throughput(rig, atOnce, full ? 10_000 : 4_000));
  }
  tables.push({
    title: 'Moves through one worker',
    columns: [
      'at a time',
      'committed a second',
      'aborted',
      'total p50, ms',
      'p95',
      'downtime p50, ms',
      'p95',
      'worker CPU, ms each',
      'Temporal CPU, ms each',
    ],
    rows,
    notes: ['prompts of 100 tokens; downtime as the worker saw it. Temporal is the development server with its data in a file'],
  });
  return tables;
});
