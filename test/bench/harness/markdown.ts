// A bench's result as a section of docs/prices.md.
import { caution, type PriceTable, type Result } from './report.ts';
import { shown } from './statistics.ts';

const cell = (text: string) => text.replaceAll('|', '\\|');

export function tableMarkdown({ title, columns, rows, notes }: PriceTable): string {
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(' | ')} |`;
  return [
    `**${title}** (${caution})`,
    '',
    line(columns),
    line(columns.map((_, index) => (index === 0 ? '---' : '---:'))),
    ...rows.map((row) => line(row.map(shown))),
    '',
    ...notes.map((note) => `- ${note}`),
  ].join('\n');
}

export function resultMarkdown(result: Result): string {
  const { machine, mode, command, commit, startedAt } = result;
  const busy = machine.loadBefore > machine.cores / 4 ? ', others were working on it' : '';
  const where = [
    `\`${command}\` on ${startedAt.slice(0, 10)}${commit === '' ? '' : `, commit ${commit}`}.`,
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGb} GB, Linux ${machine.kernel}, Node ${machine.node}; load before ${shown(machine.loadBefore)}${busy};`,
    `a sleep of 1 ms wakes ${shown(machine.timerLateMs.p50)} ms late (p99 ${shown(machine.timerLateMs.p99)}).`,
    ...(mode === 'short' ? ['A short run: it checks the bench, its numbers are rough.'] : []),
  ];
  return [where.join(' '), ...result.tables.map(tableMarkdown)].join('\n\n');
}

/** The page with the section between the bench's marks replaced. @throws Error when the page has no such marks */
export function filled(page: string, result: Result): string {
  const [begin, end] = [`<!-- ${result.bench}: begin -->`, `<!-- ${result.bench}: end -->`];
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`docs/prices.md has no place for ${result.bench}: ${begin} … ${end}`);
  return `${page.slice(0, from + begin.length)}\n${resultMarkdown(result)}\n${page.slice(to)}`;
}
