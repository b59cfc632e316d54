// `npm run fuzz`: at least a million inputs through every entrance, each entrance in a process of its own, as many at a time
// as there are processors. Prints seeds, counts for each entrance and every finding; a process that ends badly or does not
// end in time is a finding too. --inputs <n>, --seed <n>, --only <part of an entrance's name> and --minutes <n> narrow it.
// Exits with 1 when there is a finding.
import { fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { entrances } from './entrances/all.ts';
import type { Finding } from './findings.ts';
import type { EntranceReport } from './fuzz.ts';
import { findingLines, outcomeText, table } from './report.ts';
import type { Shard, ShardResult } from './shard.ts';

const { values } = parseArgs({
  options: {
    inputs: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000_000) },
    only: { type: 'string', default: '' },
    minutes: { type: 'string', default: '30' },
  },
});
const seed = Number(values.seed);
const chosen = entrances.filter(({ name }) => name.includes(values.only));
const whole = chosen.reduce((sum, { weight }) => sum + weight, 0);
const waiting: Shard[] = chosen.map(({ name, weight }) => ({ name, seed, inputs: Math.ceil((Number(values.inputs) * weight) / whole) }));
const reports: EntranceReport[] = [];
const findings: Finding[] = [];

function runShard(shard: Shard): Promise<void> {
  return new Promise((done) => {
    const child = fork(`${import.meta.dirname}/shard.ts`, [JSON.stringify(shard)], { execArgv: ['--expose-gc', '--max-old-space-size=2048'] });
    let result: ShardResult | undefined;
    let late = false;
    const limit = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, Number(values.minutes) * 60_000);
    child.on('message', (message) => {
      result = message as ShardResult;
    });
    child.on('exit', (code, signal) => {
      clearTimeout(limit);
      const what = late ? `no end within ${values.minutes} minutes` : `the process ended with ${signal ?? code}`;
      if (!result) findings.push({ entrance: shard.name, what, seed, example: '', count: 1 });
      else {
        const report = { ...result.report, outcomes: new Map(result.outcomes) };
        reports.push(report);
        findings.push(...result.findings);
        process.stdout.write(`${report.name}: ${report.inputs} inputs in ${report.seconds.toFixed(0)} s; ${outcomeText(report.outcomes)}\n`);
      }
      done();
    });
  });
}

async function runNext(): Promise<void> {
  for (let shard = waiting.shift(); shard; shard = waiting.shift()) await runShard(shard);
}

process.stdout.write(`seed ${seed}\n`);
const startMs = performance.now();
await Promise.all(Array.from({ length: Math.min(waiting.length, availableParallelism()) }, runNext));
const order = chosen.map(({ name }) => name);
reports.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
process.stdout.write(`\n${table(reports, findings)}\n\n${((performance.now() - startMs) / 1000).toFixed(0)} s in all. ${findingLines(findings)}\n`);
process.exitCode = findings.length > 0 ? 1 : 0;
