// What a run of the fuzzer tells.
import type { Finding } from './findings.ts';
import type { EntranceReport } from './fuzz.ts';

export function outcomeText(outcomes: ReadonlyMap<string, number>): string {
  return [...outcomes]
    .toSorted((a, b) => b[1] - a[1])
    .map(([what, times]) => `${times} ${what}`)
    .join(', ');
}

export function table(reports: readonly EntranceReport[], findings: readonly Finding[]): string {
  const rows = reports.map((report) => [
    report.name,
    String(report.inputs),
    report.seconds.toFixed(1),
    report.heapGrowthMb.toFixed(0),
    String(findings.filter(({ entrance }) => entrance === report.name).length),
    outcomeText(report.outcomes),
  ]);
  const sum = (of: (report: EntranceReport) => number) => reports.reduce((total, report) => total + of(report), 0);
  const total = ['all', String(sum((each) => each.inputs)), sum((each) => each.seconds).toFixed(1), '', String(findings.length), ''];
  const lines = [
    ['entrance', 'inputs', 'seconds', 'heap +MB', 'findings', 'outcomes'],
    ['---', '---:', '---:', '---:', '---:', '---'],
    ...rows,
    total,
  ];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

export function findingLines(findings: readonly Finding[]): string {
  if (findings.length === 0) return 'No findings.';
  return findings
    .map(({ entrance, what, count, seed, example }) => `${entrance}: ${what}\n  ${count} times, first with seed ${seed}\n  ${example}`)
    .join('\n');
}
