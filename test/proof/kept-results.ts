// The rows of the full form as they were proved last, each with the run it was proved in: test/proof/results.json, and out
// of it the table in docs/faults.md. A run replaces the rows that it made and keeps the others.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { commitOf, type Machine } from '../bench/harness/report.ts';
import { shown } from '../bench/harness/statistics.ts';
import { countNames, type ReportLine } from './report.ts';

const path = join(import.meta.dirname, 'results.json');
const pagePath = join(import.meta.dirname, '../../docs/faults.md');
const [begin, end] = ['<!-- proof: begin -->', '<!-- proof: end -->'];

export interface ProofRun {
  readonly startedAt: string;
  readonly command: string;
  readonly commit: string;
  readonly machine: Machine;
}

interface KeptRow extends ReportLine {
  readonly run: ProofRun;
}

export interface KeptResults {
  readonly runs: readonly ProofRun[];
  /** `run` is the place in `runs`. */
  readonly rows: readonly (ReportLine & { readonly run: number })[];
}

/** Rows of the same fault, however long or often it was made. */
const nameOf = ({ fault }: ReportLine) => fault.replace(/\d+/g, 'n');

/** The kept rows with those of `run`. */
export function merged(kept: KeptResults, lines: readonly ReportLine[], run: ProofRun): KeptResults {
  const rows = new Map<string, KeptRow>(kept.rows.map((row) => [nameOf(row), { ...row, run: kept.runs[row.run]! }]));
  for (const line of lines) rows.set(nameOf(line), { ...line, run });
  const runs = [...new Set([...rows.values()].map((row) => row.run))].toSorted((a, b) => (a.startedAt < b.startedAt ? -1 : 1));
  return { runs, rows: [...rows.values()].map((row) => ({ ...row, run: runs.indexOf(row.run) })) };
}

const cell = (text: string) => text.replaceAll('|', '\\|');

export function pageTable({ runs, rows }: KeptResults): string {
  const columns = ['fault', 'held', ...countNames.map(([, title]) => title), 's', 'run', 'what else was seen'];
  const line = (cells: readonly (string | number)[]) => `| ${cells.map((each) => cell(String(each))).join(' | ')} |`;
  return [
    line(columns),
    line(columns.map((_, index) => (index > 1 && index < columns.length - 1 ? '---:' : '---'))),
    ...rows.map((row) =>
      line([row.fault, row.held ? 'yes' : '**no**', ...countNames.map(([name]) => row[name] ?? ''), row.seconds, row.run + 1, row.note ?? '']),
    ),
    '',
    ...runs.map(({ startedAt, command, commit, machine }, index) => {
      const busy = machine.loadBefore > machine.cores / 4 ? ', others were working on it' : '';
      const facts = `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, Linux ${machine.kernel}, Node ${machine.node}`;
      return `${index + 1}. \`${command}\` on ${startedAt.slice(0, 10)}, commit ${commit}; ${facts}; load before ${shown(machine.loadBefore)}${busy}`;
    }),
  ].join('\n');
}

/** Keeps what a run of the full form has shown, and writes the page. */
export function keepResults(lines: readonly ReportLine[], run: Omit<ProofRun, 'commit'>): void {
  const kept: KeptResults = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : { runs: [], rows: [] };
  const results = merged(kept, lines, { ...run, commit: commitOf() });
  writeFileSync(path, `${JSON.stringify(results, null, 2)}\n`);
  const page = readFileSync(pagePath, 'utf8');
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`docs/faults.md has no place for the table: ${begin} … ${end}`);
  writeFileSync(pagePath, `${page.slice(0, from + begin.length)}\n${pageTable(results)}\n${page.slice(to)}`);
}
