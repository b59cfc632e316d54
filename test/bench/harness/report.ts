// What a bench leaves behind: tables on the terminal, and the same tables with the machine's facts as JSON in
// test/bench/results, out of which docs/prices.md is made.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import Table from 'cli-table3';
import { percentile, shown } from './statistics.ts';

export const resultsFolder = join(import.meta.dirname, '../results');
const root = join(import.meta.dirname, '../../..');

export type Cell = string | number | null;

export interface PriceTable {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
  /** What a reader must know to read the numbers. */
  readonly notes: readonly string[];
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly kernel: string;
  readonly node: string;
  /** Over one minute, before the bench began: more than a few tenths means that others were working. */
  readonly loadBefore: number;
  /** How late a sleep of 1 ms wakes before the bench, ms. */
  readonly timerLateMs: { readonly p50: number; readonly p99: number };
}

export interface Result {
  readonly bench: string;
  readonly mode: 'short' | 'full';
  readonly command: string;
  readonly commit: string;
  readonly startedAt: string;
  readonly tookS: number;
  readonly machine: Machine;
  readonly tables: readonly PriceTable[];
}

export const caution = 'gaps under 20 % mean nothing';

export function machineFacts(): Machine {
  const late = timerLateness(200);
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 1e9),
    kernel: release(),
    node: process.version,
    loadBefore: loadavg()[0]!,
    timerLateMs: { p50: percentile(late, 0.5), p99: percentile(late, 0.99) },
  };
}

/** How much later than asked a sleep of 1 ms ends, ms, `count` times. Blocks: nothing of the event loop is in it. */
export function timerLateness(count: number): number[] {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  return Array.from({ length: count }, () => {
    const startMs = performance.now();
    Atomics.wait(cell, 0, 0, 1);
    return performance.now() - startMs - 1;
  });
}

/** The commit, marked when files differ from it; empty outside a checkout. */
export function commitOf(): string {
  const git = (...args: string[]) => execFileSync('git', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return git('rev-parse', '--short=10', 'HEAD') + (git('status', '--porcelain', '--untracked-files=no') === '' ? '' : ' with changes');
  } catch {
    return '';
  }
}

export function printTables(tables: readonly PriceTable[]): void {
  for (const { title, columns, rows, notes } of tables) {
    const table = new Table({
      head: [...columns],
      colAligns: columns.map((_, index) => (index === 0 ? 'left' : 'right')),
      style: { head: [], border: [] },
    });
    for (const row of rows) table.push(row.map(shown));
    process.stdout.write(`\n${title} (${caution})\n${table}\n${notes.map((note) => `  ${note}\n`).join('')}`);
  }
}

/** Short runs are for checking the bench itself, and are kept apart from full ones. */
export function resultPath(bench: string, mode: Result['mode']): string {
  return join(resultsFolder, `${bench}${mode === 'short' ? '-short' : ''}.json`);
}

export function saveResult(result: Result, path = resultPath(result.bench, result.mode)): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${JSON.stringify(result, null, 2)}\n`);
  return path;
}

export function readResult(path: string): Result {
  return JSON.parse(readFileSync(path, 'utf8')) as Result;
}
