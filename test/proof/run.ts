// `npm run proof`: every row of the table of faults in its full form, and the table with its counts at the end.
//
//   npm run proof                          everything; an hour and more, most of it the ten minutes of overload and the rounds
//   npm run proof -- --rounds 3            fewer kills in each row
//   npm run proof -- --only "NATS|Redis"   rows whose name matches
//   npm run proof -- --short               shorter outages, one round; npm test runs some of these rows
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import type { ReportLine } from './report.ts';

const root = resolve(import.meta.dirname, '../..');
const reportPath = join(root, '.switchyard/proof.jsonl');

const { values } = parseArgs({ options: { rounds: { type: 'string' }, only: { type: 'string' }, short: { type: 'boolean', default: false } } });
if (values.rounds !== undefined && !/^[1-9][0-9]{0,3}$/.test(values.rounds)) {
  process.stderr.write('--rounds: a whole number, 1 to 9999\n');
  process.exit(2);
}

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
    },
  },
);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
child.on('exit', (code) => {
  const lines = existsSync(reportPath) ? readFileSync(reportPath, 'utf8').trim().split('\n') : [];
  if (lines.length > 0) process.stdout.write(`${tableOf(lines.map((line) => JSON.parse(line) as ReportLine))}\n`);
  process.exitCode = code ?? 1;
});

function tableOf(lines: readonly ReportLine[]): string {
  const columns = ['requests', 'tokens', 'lost', 'repeated', 'misplaced', 'errors', 'refused', 'doubleEnds', 'leftReserved'] as const;
  const table = new Table({
    head: ['fault', 'held', 'requests', 'tokens', 'lost', 'repeated', 'misplaced', 'errors', 'refused', 'told twice', 'left', 's', ''],
    colWidths: [46, ...Array.from({ length: 11 }, () => null), 60],
    colAligns: ['left', 'left', ...Array.from({ length: 10 }, () => 'right' as const), 'left'],
    wordWrap: true,
    style: { head: [], compact: true },
  });
  for (const line of lines)
    table.push([line.fault, line.held ? 'yes' : 'NO', ...columns.map((name) => line[name] ?? '-'), line.seconds, line.note ?? '']);
  return table.toString();
}
