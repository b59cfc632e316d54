// The table: what each probe showed on ours, with what the others do beside it.
import type { PriceTable } from '../bench/harness/report.ts';
import { type Gateway, gateways, others } from './others.ts';
import type { ReportLine } from './report.ts';

export function probesTable(lines: readonly ReportLine[]): PriceTable {
  const names = Object.keys(gateways) as Gateway[];
  const rows = Object.entries(others).flatMap(([probe, line]) => {
    const ours = lines.find(({ name }) => name === probe);
    return ours ? [[probe, ...names.map((gateway) => line[gateway] ?? '-'), ours.says, ours.held ? 'yes' : 'NO']] : [];
  });
  return { title: 'Probes', columns: ['probe', ...names.map((name) => gateways[name]), 'Switchyard', 'as aimed'], rows, notes: [] };
}
