// `npm run proof`: every row of the table of faults in its full form, and the table with its counts at the end, which is
// kept in test/proof/results.json and put into docs/faults.md.
//
//   npm run proof                          everything; an hour and more, most of it the ten minutes of overload and the rounds
//   npm run proof -- --rounds 3            fewer kills in each row
//   npm run proof -- --only "NATS|Redis"   rows whose name matches
//   npm run proof -- --overload 200        seconds of overload
//   npm run proof -- --short               shorter outages, one round, nothing is kept; npm test runs most of these rows
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { machineFacts } from '../bench/harness/report.ts';
import { keepResults } from './kept-results.ts';
import { countNames, type ReportLine } from './report.ts';

const root = resolve(import.meta.dirname, '../..');
const reportPath = join(root, '.switchyard/proof.jsonl');

const { values } = parseArgs({
  options: { rounds: { type: 'string' }, overload: { type: 'string' }, only: { type: 'string' }, short: { type: 'boolean', default: false } },
});
for (const name of ['rounds', 'overload'] as const) {
  if (values[name] === undefined || /^[1-9][0-9]{0,3}$/.test(values[name])) continue;
  process.stderr.write(`--${name}: a whole number, 1 to 9999\n`);
  process.exit(2);
}
const begun = {
  startedAt: new Date().toISOString(),
  command: [
    'npm run proof',
    ...(process.argv.length > 2 ? ['--'] : []),
    ...process.argv.slice(2).map((arg) => (/[^\w-]/.test(arg) ? `"${arg}"` : arg)),
  ].join(' '),
  machine: machineFacts(),
};

mkdirSync(join(root, '.switchyard'), { recursive: true });
rmSync(reportPath, { force: true });
const child = spawn(
  process.execPath,
  [
    join(root, 'infra/setup/run-tests.ts'),
    ...['--project', 'servers', 'test/proof', 'test/integration/migration-faults'],
    ...(values.only === undefined ? [] : ['-t', values.only]),
  ],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      SWITCHYARD_PROOF: values.short ? 'short' : 'full',
      SWITCHYARD_PROOF_REPORT: reportPath,
      ...(values.rounds === undefined ? {} : { SWITCHYARD_FAULT_ROUNDS: values.rounds }),
      ...(values.overload === undefined ? {} : { SWITCHYARD_PROOF_OVERLOAD_S: values.overload }),
    },
  },
);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
child.on('exit', (code) => {
  const text = existsSync(reportPath) ? readFileSync(reportPath, 'utf8').trim().split('\n') : [];
  const lines = text.map((line) => JSON.parse(line) as ReportLine);
  if (lines.length > 0) process.stdout.write(`${tableOf(lines)}\n`);
  if (lines.length > 0 && !values.short) keepResults(lines, begun);
  process.exitCode = code ?? 1;
});

function tableOf(lines: readonly ReportLine[]): string {
  const table = new Table({
    head: ['fault', 'held', ...countNames.map(([, title]) => title), 's', ''],
    colWidths: [46, ...Array.from({ length: 11 }, () => null), 60],
    colAligns: ['left', 'left', ...Array.from({ length: 10 }, () => 'right' as const), 'left'],
    wordWrap: true,
    style: { head: [], compact: true },
  });
  for (const line of lines)
    table.push([line.fault, line.held ? 'yes' : 'NO', ...countNames.map(([name]) => line[name] ?? '-'), line.seconds, line.note ?? '']);
  return table.toString();
}
