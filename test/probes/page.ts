// Puts the kept result into docs/probes.md, so that nothing of ours there is typed.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Result } from '../bench/harness/report.ts';
import { shown } from '../bench/harness/statistics.ts';

const path = join(import.meta.dirname, '../../docs/probes.md');
const [begin, end] = ['<!-- probes: begin -->', '<!-- probes: end -->'];

const line = (cells: readonly unknown[]) => `| ${cells.map((cell) => String(cell).replaceAll('|', '\\|')).join(' | ')} |`;

function section({ machine, command, commit, startedAt, tables: [table] }: Result): string {
  const { columns, rows } = table!;
  return [
    `\`${command}\` on ${startedAt.slice(0, 10)}${commit === '' ? '' : `, commit ${commit}`}. ${machine.cpu}, ${machine.cores} cores, Node ${machine.node};`,
    `load before ${shown(machine.loadBefore)}; a sleep of 1 ms wakes ${shown(machine.timerLateMs.p50)} ms late (p99 ${shown(machine.timerLateMs.p99)}).`,
    '',
    line(columns),
    line(columns.map(() => '---')),
    ...rows.map(line),
  ].join('\n');
}

/** @throws Error when the page has no place for it */
export function writePage(result: Result): void {
  const page = readFileSync(path, 'utf8');
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`docs/probes.md has no place for the table: ${begin} … ${end}`);
  writeFileSync(path, `${page.slice(0, from + begin.length)}\n${section(result)}\n${page.slice(to)}`);
}
