// What the services take when nothing is asked of them, and what thousands of streams take in one gateway: `npm run bench:idle`.
import { setTimeout as pause } from 'node:timers/promises';
import { coefficientsOf } from '../../core/engine/profiles.ts';
import { stepMs } from '../../core/engine/step-model.ts';
import { runLoad } from './harness/load-plan.ts';
import { type OurFleet, startOurFleet } from './harness/our-fleet.ts';
import { cpuMicrosOf, idleRateOf, memoryMbOf } from './harness/process-cost.ts';
import type { PriceTable } from './harness/report.ts';
import { type BenchRun, runBench } from './harness/run-bench.ts';

const profile = 'llama-3.1-8b-h100';
const rampS = 10;
async function idle({ pids }: OurFleet, forMs: number): Promise<PriceTable> {
  const [rates] = await idleRateOf([pids], forMs);
  const rows = Object.entries(pids).map(([name, group]) => [
    name,
    group.length,
    memoryMbOf(group) / group.length,
    rates![name]! / group.length / 10_000,
  ]);
  return {
    title: 'Idle services: each process',
    columns: ['', 'processes', 'memory, MB', 'CPU, % of a core'],
    rows,
    notes: [`resident memory, and CPU over ${forMs / 1000} s without requests; every agent carries one simulated instance`],
  };
}

/** `count` streams at once, each with `tokens` tokens: memory at the height, CPU over the whole. */
async function many({ fleet, headers, pids }: OurFleet, count: number, tokens: number, say: BenchRun['say']): Promise<(string | number)[]> {
  const gateway = pids.gateway!;
  const before = { micros: cpuMicrosOf(gateway), memoryMb: memoryMbOf(gateway) };
  let peakMb = 0;
  let running = true;
  const watch = (async () => {
    while (running) {
      peakMb = Math.max(peakMb, memoryMbOf(gateway));
      await pause(200);
    }
  })();
  try {
    const plan = {
      url: fleet.gatewayUrl,
      headers,
      model: 'bench',
      bodyBytes: 256,
      tokens,
      stream: true,
      count,
      atOnce: count,
      // They come within some seconds, as clients do, and are all there before the first ends.
      perSecond: count / rampS,
      seed: `streams-${count}`,
    };
    const report = await runLoad(plan, 'count');
    if (report.failed > 0) say(`${report.failed} of ${count} failed: ${report.firstFailure}`);
    const micros = cpuMicrosOf(gateway) - before.micros;
    const tokensPerSecond = report.events / (report.wallMs / 1000);
    const perStreamKb = ((peakMb - before.memoryMb) * 1024) / count;
    return [
      count,
      report.failed,
      tokensPerSecond,
      micros / report.events,
      micros / report.wallMs / 10,
      before.memoryMb,
      peakMb,
      perStreamKb,
      report.firstByteMs.p50,
    ];
  } finally {
    running = false;
    await watch;
  }
}

async function measure({ mode, only, say, atEnd }: BenchRun): Promise<PriceTable[]> {
  const full = mode === 'full';
  const counts = full ? [1_000, 5_000] : [200];
  const largest = counts.at(-1)!;
  // Between two tokens of a stream, with the most streams; with fewer the engines are faster, as engines are.
  const tokenMs = full ? 500 : 100;
  const sim = { profile, blocks: 131_072, kvBytesPerToken: 8, maxRunning: 4_096, maxWaiting: 4_096, prefillChunk: 65_536 };
  const speed = stepMs(coefficientsOf(profile), largest / 2, []) / tokenMs;
  const ours = await startOurFleet({
    pools: [{ id: 'chat', models: ['bench'], instances: 2, max: 2, sim: { ...sim, speed } }],
    // Nothing is to move while many streams are measured.
    settings: { 'migration-coordinator': { mode: 'off' }, admission: { maxQueued: 20_000 } },
  });
  atEnd(() => ours.fleet.stop());
  const wanted = (part: string) => only.length === 0 || only.includes(part);
  const tables: PriceTable[] = [];
  await pause(full ? 5_000 : 1_000);
  if (wanted('idle')) tables.push(await idle(ours, full ? 30_000 : 5_000));
  if (!wanted('streams')) return tables;
  const rows: (string | number)[][] = [];
  for (const count of counts) {
    say(`${count} streams at once`);
    rows.push(await many(ours, count, full ? 80 : 150, say));
  }
  tables.push({
    title: 'Many streams through one gateway',
    columns: [
      'streams',
      'failed',
      'tokens a second',
      'CPU µs a token',
      'CPU, % of a core',
      'MB before',
      'MB at most',
      'KB a stream',
      'first byte p50, ms',
    ],
    rows,
    notes: [`the gateway process; requests that start and end are in the CPU time; the requests come within ${rampS} s to two engines`],
  });
  return tables;
}

await runBench('idle', measure);
