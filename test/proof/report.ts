// What a row has found, one line each, for the table at the end of `npm run proof`.
import { appendFileSync } from 'node:fs';

/** In the order of the table's columns; a row that counts nothing of a kind leaves it out. */
export interface Counts {
  readonly requests?: number;
  readonly tokens?: number;
  readonly lost?: number;
  readonly repeated?: number;
  readonly misplaced?: number;
  /** Ends of accepted requests that were not whole answers. */
  readonly errors?: number;
  /** Turned away before any token, with the time to come back. */
  readonly refused?: number;
  /** Ended, and not told exactly once. */
  readonly doubleEnds?: number;
  /** Blocks, reservations, places and money still held when all was over. */
  readonly leftReserved?: number;
  /** What else is worth saying. */
  readonly note?: string;
}

/** Of the numbers above, with their titles in tables. */
export const countNames = [
  ['requests', 'requests'],
  ['tokens', 'tokens'],
  ['lost', 'lost'],
  ['repeated', 'repeated'],
  ['misplaced', 'misplaced'],
  ['errors', 'errors'],
  ['refused', 'refused'],
  ['doubleEnds', 'told twice'],
  ['leftReserved', 'left'],
] as const;

export interface ReportLine extends Counts {
  readonly fault: string;
  readonly held: boolean;
  readonly seconds: number;
}

export function report(line: ReportLine): void {
  const { fault, held, seconds, note, ...counts } = line;
  const said = Object.entries(counts).map(([name, value]) => `${value} ${name}`);
  console.log(`${held ? 'held' : 'NOT HELD'}: ${fault}: ${said.join(', ')}${note ? `; ${note}` : ''} (${seconds} s)`);
  const path = process.env.SWITCHYARD_PROOF_REPORT;
  if (path) appendFileSync(path, `${JSON.stringify(line)}\n`);
}
