// What the probes have seen, one line each, for the table at the end of `npm run probes`.
import { appendFileSync } from 'node:fs';

export interface ReportLine {
  readonly name: string;
  readonly mustHold: string;
  readonly held: boolean;
  readonly says: string;
}

export function report(line: ReportLine): void {
  console.log(`${line.held ? 'held' : 'NOT HELD'}: ${line.name}: ${line.says}`);
  const path = process.env.SWITCHYARD_PROBES_REPORT;
  if (path) appendFileSync(path, `${JSON.stringify(line)}\n`);
}
