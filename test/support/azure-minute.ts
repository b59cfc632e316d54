// A minute of the Azure code trace: a recorded one where it is at hand (SWITCHYARD_TRACES, or a folder beside the
// checkout), otherwise a generated minute of the same format and similar statistics.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readTrace, type TraceRow } from '../../core/workload/trace-file.ts';
import { seededRng } from '../../lib/rng/seeded-rng.ts';

const file = 'azure_llm_2023_code.csv';
const requestsPerMinute = 155;

function generated(): TraceRow[] {
  const rng = seededRng(2023);
  // Log-normal lengths around the trace's medians (about 1,500 in, 13 out), by summing uniforms.
  const logNormal = (median: number, spread: number) =>
    Math.round(median * Math.exp(spread * (rng.next() + rng.next() + rng.next() + rng.next() - 2)));
  let atMs = 0;
  return Array.from({ length: requestsPerMinute }, () => {
    atMs += -Math.log(1 - rng.next()) * (60_000 / requestsPerMinute);
    return { atMs, promptTokens: Math.min(7_400, logNormal(1_500, 1.6)), outputTokens: Math.max(1, Math.min(400, logNormal(13, 2))), prefixIds: [] };
  });
}

/** The minute whose number of requests is nearest to the trace's average: some are quiet, some are bursts. */
function typicalMinute(rows: readonly TraceRow[]): TraceRow[] {
  const minutes = [...Map.groupBy(rows, (row) => Math.floor(row.atMs / 60_000)).entries()];
  const distance = (found: readonly TraceRow[]) => Math.abs(found.length - requestsPerMinute);
  const [minute, typical] = minutes.reduce((best, next) => (distance(next[1]) < distance(best[1]) ? next : best));
  return typical.map((row) => ({ ...row, atMs: row.atMs - minute * 60_000 }));
}

export function azureMinute(): { rows: TraceRow[]; recorded: boolean } {
  const folders = [process.env.SWITCHYARD_TRACES, join(import.meta.dirname, '../../../shared/data')];
  for (const folder of folders) {
    if (!folder || !existsSync(join(folder, file))) continue;
    return { rows: typicalMinute(readTrace(readFileSync(join(folder, file), 'utf8'))), recorded: true };
  }
  return { rows: generated(), recorded: false };
}
