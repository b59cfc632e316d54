// Reads recorded workloads: Azure LLM inference traces (CSV: TIMESTAMP, ContextTokens, GeneratedTokens) and Mooncake
// traces (JSONL: timestamp in ms, input_length, output_length, hash_ids of 512-token blocks).
import { SwitchyardError } from '../errors/switchyard-error.ts';

export interface TraceRow {
  /** Milliseconds from the first row. */
  readonly atMs: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** Equal leading ids mean a shared prefix; empty when the trace has none. */
  readonly prefixIds: readonly number[];
}

/** Mooncake's timestamps are multiples of this: rows of one slot are spread over it. */
const mooncakeSlotMs = 3_000;

/**
 * All rows in order of time, the first at 0 ms.
 * @throws SwitchyardError `invalid_request` naming the line that is neither format
 */
export function readTrace(text: string): TraceRow[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '');
  const first = lines[0];
  if (first === undefined) throw new SwitchyardError('invalid_request', 'the trace file is empty');
  const rows = first.startsWith('{') ? spread(lines.map(mooncakeRow)) : azureRows(lines);
  rows.sort((a, b) => a.atMs - b.atMs);
  const start = rows[0]?.atMs ?? 0;
  return rows.map((row) => ({ ...row, atMs: row.atMs - start }));
}

function bad(line: number, why: string): SwitchyardError {
  return new SwitchyardError(
    'invalid_request',
    `line ${line}: ${why}; known formats are Azure CSV (TIMESTAMP,ContextTokens,GeneratedTokens) and Mooncake JSONL (timestamp, input_length, output_length)`,
  );
}

function count(value: unknown, line: number, name: string): number {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isInteger(number) || number < 0) throw bad(line, `${name} is not a whole number`);
  return number;
}

function azureRows(lines: readonly string[]): TraceRow[] {
  const columns = (lines[0] as string).split(',').map((name) => name.trim());
  const at = columns.indexOf('TIMESTAMP');
  const context = columns.indexOf('ContextTokens');
  const generated = columns.indexOf('GeneratedTokens');
  if (at < 0 || context < 0 || generated < 0) throw bad(1, 'the header lacks a column');
  return lines.slice(1).map((text, index) => {
    const cells = text.split(',');
    const line = index + 2;
    // Seven decimals; Date keeps three.
    const atMs = Date.parse(`${(cells[at] ?? '').trim().replace(' ', 'T').slice(0, 23)}Z`);
    if (Number.isNaN(atMs)) throw bad(line, 'TIMESTAMP is not a time');
    return {
      atMs,
      promptTokens: count(cells[context], line, 'ContextTokens'),
      outputTokens: count(cells[generated], line, 'GeneratedTokens'),
      prefixIds: [],
    };
  });
}

function mooncakeRow(text: string, index: number): TraceRow {
  const line = index + 1;
  let row: Record<string, unknown>;
  try {
    row = JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw bad(line, 'not JSON');
  }
  const ids = row.hash_ids ?? [];
  if (!Array.isArray(ids)) throw bad(line, 'hash_ids is not a list');
  return {
    atMs: count(row.timestamp, line, 'timestamp'),
    promptTokens: count(row.input_length, line, 'input_length'),
    outputTokens: count(row.output_length, line, 'output_length'),
    prefixIds: ids.map((id) => count(id, line, 'hash_ids')),
  };
}

/** Rows with the same quantised time, spread evenly over their slot in the order of the file. */
function spread(rows: readonly TraceRow[]): TraceRow[] {
  const slots = Map.groupBy(rows, (row) => row.atMs);
  return [...slots.values()].flatMap((slot) => slot.map((row, index) => ({ ...row, atMs: row.atMs + (index * mooncakeSlotMs) / slot.length })));
}
