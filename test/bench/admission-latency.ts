// How long a request waits for admission and routing at fixed rates: `npm run bench:admission`. Whole requests through the gateway,
// ten instances behind it, a key whose limits and budget are checked and booked for each. The wait is what the gateway reports of
// itself: from the request's arrival to the opening of its stream at an engine.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ServiceName } from '../../lib/run/service.ts';
import { type LoadPlan, runLoad, type Summary } from './harness/load-plan.ts';
import { startOurFleet } from './harness/our-fleet.ts';
import type { PriceTable } from './harness/report.ts';
import { type BenchRun, runBench } from './harness/run-bench.ts';

const run = promisify(execFile);
const instances = 10;
const rates = [50, 200, 500];

/** Of a process that only sleeps, meanwhile. */
async function timerNoise(forMs: number): Promise<Summary> {
  const { stdout } = await run(process.execPath, [join(import.meta.dirname, 'harness/timer-noise.ts'), String(forMs)]);
  return JSON.parse(stdout) as Summary;
}

/** Every service a process of its own, and those that a request crosses in one. */
const arrangements: readonly (readonly ServiceName[])[] = [[], ['gateway', 'admission', 'router']];

const notes = [
  'p50 to p99: arrival at the gateway to opening the stream at an engine, in steps of 0.1 ms: body, key, admission with limits and budget, routing',
  'first byte: as the client sees it, with a prompt of about 250 tokens computed (13 ms or so); load late: how late the load itself was',
  'noise: how late the machine wakes a process that asked to sleep 1 ms, meanwhile',
];

async function measured({ mode, say }: BenchRun, together: readonly ServiceName[]): Promise<PriceTable> {
  const seconds = mode === 'full' ? 20 : 4;
  const sim = { profile: 'llama-3.1-8b-h100', speed: 1, blocks: 4096, kvBytesPerToken: 8, maxRunning: 64, maxWaiting: 64 };
  const price = { inputMicros: 0.05, outputMicros: 0.2 };
  const { fleet, headers } = await startOurFleet({
    pools: [{ id: 'chat', models: ['bench'], instances, max: instances, sim, price }],
    oneAgent: true,
    together,
  });
  try {
    const common = { url: fleet.gatewayUrl, headers, model: 'bench', bodyBytes: 1_024, tokens: 1, stream: false, atOnce: 256 };
    const warmUp: LoadPlan = { ...common, count: mode === 'full' ? 4_000 : 500, atOnce: 8, seed: 'warm-up' };
    await runLoad(warmUp);

    const quiet = await timerNoise(1_000);
    const rows: (string | number)[][] = [['nothing asked', ...Array<string>(6).fill('-'), quiet.p50, quiet.p95, quiet.p99]];
    for (const perSecond of rates) {
      say(`${perSecond} requests a second for ${seconds} s`);
      const plan = { ...common, count: perSecond * seconds, perSecond, seed: `at-${perSecond}` };
      const [report, noise] = await Promise.all([runLoad(plan), timerNoise(seconds * 1000)]);
      const { overheadMs, firstByteMs } = report;
      rows.push([
        `${perSecond}/s`,
        ...[overheadMs.p50, overheadMs.p95, overheadMs.p99],
        ...[firstByteMs.p50, report.lateMs.p50, report.lateMs.p99],
        ...[noise.p50, noise.p95, noise.p99],
      ]);
    }
    const columns = ['', 'p50', 'p95', 'p99', 'first byte p50', 'load late p50', 'load late p99', 'noise p50', 'noise p95', 'noise p99'];
    const where = together.length === 0 ? 'every service its own process' : `${together.join(', ')} in one process`;
    return { title: `Admission and routing, ms, ${instances} instances, ${where}`, columns, rows, notes };
  } finally {
    await fleet.stop();
  }
}

await runBench('admission', async (run) => {
  const tables: PriceTable[] = [];
  for (const together of arrangements) tables.push(await measured(run, together));
  return tables;
});
