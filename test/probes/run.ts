// `npm run probes`: what users of other gateways run into, tried on ours in several rounds, times judged; the whole table at
// the end, with what five gateways do beside it. Kept in results.json, and from there in docs/probes.md.
//
//   npm run probes                        all of them; some minutes, on a quiet machine
//   npm run probes -- --only "dead|429"   those whose name matches; nothing is kept
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { commitOf, machineFacts, type Result, saveResult } from '../bench/harness/report.ts';
import { others } from './others.ts';
import { writePage } from './page.ts';
import type { ReportLine } from './report.ts';
import { probesTable } from './table.ts';

const root = resolve(import.meta.dirname, '../..');
const reportPath = join(root, '.switchyard/probes.jsonl');
const { values } = parseArgs({ options: { only: { type: 'string' } } });

mkdirSync(join(root, '.switchyard'), { recursive: true });
rmSync(reportPath, { force: true });
const machine = machineFacts();
const startedAt = new Date();
const child = spawn(
  process.execPath,
  [join(root, 'infra/setup/run-tests.ts'), '--project', 'servers', 'test/probes', ...(values.only === undefined ? [] : ['-t', values.only])],
  { cwd: root, stdio: 'inherit', env: { ...process.env, SWITCHYARD_PROBES: 'full', SWITCHYARD_PROBES_REPORT: reportPath } },
);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
child.on('exit', (code) => {
  const lines = existsSync(reportPath) ? readFileSync(reportPath, 'utf8').trim().split('\n') : [];
  finish(lines.map((line) => JSON.parse(line) as ReportLine));
  process.exitCode = code ?? 1;
});

function finish(lines: readonly ReportLine[]): void {
  if (lines.length === 0) return;
  const table = probesTable(lines);
  const shown = new Table({ head: [...table.columns], colWidths: [24, 17, 17, 17, 17, 20, 46, 8], wordWrap: true, style: { head: [], border: [] } });
  for (const row of table.rows) shown.push(row.map(String));
  process.stdout.write(`\n${shown}\n`);
  const whole = Object.keys(others).every((name) => lines.some((line) => line.name === name));
  if (!whole) return;
  const tookS = Math.round((Date.now() - startedAt.getTime()) / 1000);
  const [bench, mode, command] = ['probes', 'full', 'npm run probes'] as const;
  const result: Result = { bench, mode, command, commit: commitOf(), startedAt: startedAt.toISOString(), tookS, machine, tables: [table] };
  const path = saveResult(result, join(import.meta.dirname, 'results.json'));
  writePage(result);
  process.stdout.write(`kept in ${relative(process.cwd(), path)} and docs/probes.md\n`);
}
