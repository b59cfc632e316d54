// What streams feel of long prompts that arrive meanwhile: three simulated instances that are all alike, and the same three with one
// that computes long prompts for the others: `npm run bench:disaggregation`.
import { Agent, type Dispatcher } from 'undici';
import { systemClock } from '../../lib/clock/system-clock.ts';
import type { RequestRow } from '../../lib/operator/types.ts';
import { sleep } from '../../lib/ports/clock.ts';
import { type OurFleet, startOurFleet } from './harness/our-fleet.ts';
import { type BenchRun, runBench } from './harness/run-bench.ts';
import { percentile } from './harness/statistics.ts';
import { gapsWithin, openTokenStream, type TokenStream } from './harness/token-stream.ts';

const model = 'bench';
const instances = 3;
const streamCount = 24;
const shortTokens = 50;
const longTokens = 4_000;
const longOutput = 64;
const everyMs = 1_250;
const arrangements = [
  { name: 'all alike', prefillInstances: 0 },
  { name: 'one prefills', prefillInstances: 1 },
] as const;

interface Seen {
  readonly gapsMs: readonly number[];
  /** Until the first token of a long prompt. */
  readonly firstMs: readonly number[];
  /** Longest wait of each long prompt's stream after that. */
  readonly longestMs: readonly number[];
  readonly handedOver: number;
  readonly failed: number;
}

async function measure({ fleet, headers }: OurFleet, seconds: number): Promise<Seen> {
  const client = new Agent({ pipelining: 1 }).compose(
    (dispatch) => (request, handler) => dispatch({ ...request, origin: fleet.gatewayUrl }, handler),
  );
  const open = (seed: number, promptTokens: number, maxTokens: number) =>
    openTokenStream(client as Dispatcher, { headers, model, promptTokens, maxTokens, seed, firstWithinMs: 120_000 });
  const running = await Promise.all(Array.from({ length: streamCount }, (_, index) => open(index + 1, shortTokens, 10_000)));
  await Promise.all(running.map((stream) => stream.more(20)));
  const startMs = performance.now();
  const longs: Promise<{ stream: TokenStream; firstMs: number } | undefined>[] = [];
  for (let index = 0; performance.now() - startMs < seconds * 1_000; index++) {
    const askedMs = performance.now();
    const one = open(1_000 + index, longTokens, longOutput).then((stream) => ({ stream, firstMs: stream.cameMs[0]! - askedMs }));
    longs.push(one.catch(() => undefined));
    await sleep(systemClock, Math.max(0, startMs + (index + 1) * everyMs - performance.now()));
  }
  const endMs = performance.now();
  const gapsMs = running.flatMap(({ cameMs }) => gapsWithin(cameMs, startMs, endMs).map((gap) => gap.endMs - gap.startMs));
  const answered = (await Promise.all(longs)).filter((one) => one !== undefined);
  await Promise.all(answered.map(({ stream }) => stream.more(longOutput - stream.cameMs.length, 60_000).catch(() => {})));
  for (const stream of running) stream.close();
  const rows = new Map((await fleet.requests(true)).map((row): [string, RequestRow] => [row.id, row]));
  return {
    gapsMs,
    firstMs: answered.map(({ firstMs }) => firstMs),
    longestMs: answered.map(({ stream: { cameMs } }) => Math.max(...cameMs.slice(1).map((ms, index) => ms - cameMs[index]!))),
    handedOver: answered.filter(({ stream }) => (rows.get(stream.requestId)?.migrations ?? 0) > 0).length,
    failed: longs.length - answered.length,
  };
}

async function arrangement(run: BenchRun, { name, prefillInstances }: (typeof arrangements)[number]): Promise<Seen> {
  run.say(`${name}: a prompt of ${longTokens} tokens every ${everyMs} ms beside ${streamCount} streams`);
  const sim = { profile: 'llama-3.1-8b-h100', speed: 0.25, blocks: 4096, kvBytesPerToken: 1024, maxRunning: 64, maxWaiting: 64 };
  const ours = await startOurFleet({
    pools: [{ id: 'chat', models: [model], instances, max: instances, prefillInstances, sim }],
    settings: { 'migration-coordinator': { mode: 'off' } },
  });
  let stopped = false;
  const stop = async () => {
    if (!stopped) await ours.fleet.stop();
    stopped = true;
  };
  run.atEnd(stop);
  const seen = await measure(ours, run.mode === 'full' ? 60 : 15);
  await stop();
  return seen;
}

await runBench('disaggregation', async (run) => {
  const rows: (string | number)[][] = [];
  for (const each of arrangements) {
    const { gapsMs, firstMs, longestMs, handedOver, failed } = await arrangement(run, each);
    const of = (values: readonly number[], ...shares: number[]) => [0.5, ...shares, 0.99].map((share) => percentile(values, share));
    rows.push([each.name, ...of(gapsMs, 0.95), Math.max(...gapsMs), ...of(firstMs), ...of(longestMs), firstMs.length, handedOver, failed]);
  }
  return [
    {
      title: `${streamCount} streams on ${instances} instances while long prompts arrive, ms`,
      columns: [
        ...['', 'between tokens p50', 'p95', 'p99', 'max', 'long: first token p50', 'p99', 'long: longest wait p50', 'p99'],
        ...['long prompts', 'handed over', 'failed'],
      ],
      rows,
      notes: [
        `between tokens: of the streams, which have prompts of ${shortTokens} tokens; meanwhile a prompt of ${longTokens} tokens comes every ${everyMs} ms and gets ${longOutput} tokens`,
        'longest wait: between two tokens of such a request after its first, the hand-over included; 4 MB of KV, over loopback',
        'simulated engines (llama-3.1-8b on H100 at a quarter of its speed, chunks of 512 prompt tokens); nothing else is simulated',
      ],
    },
  ];
});
