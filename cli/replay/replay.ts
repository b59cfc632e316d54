// Replays a workload at its recorded times, within stated limits, and collects what became of every request.
import { setTimeout as pause } from 'node:timers/promises';
import { Agent } from 'undici';
import { promptOf } from '../../core/workload/prompt.ts';
import type { TraceRow } from '../../core/workload/trace-file.ts';
import { type ReplayResult, send } from './send.ts';

export interface ReplayOptions {
  /** Gateway, without /v1. */
  readonly url: string;
  readonly model: string;
  readonly apiKey: string;
  /** 2 sends twice as fast. */
  readonly speed: number;
  /** Rows after this time of the trace are left out. */
  readonly untilMs: number;
  readonly maxRequests: number;
  /** Requests in flight at most; a row whose time has come waits for a place. */
  readonly maxInFlight: number;
  readonly maxPromptTokens: number;
  readonly maxOutputTokens: number;
  readonly sloClass: string;
  readonly seed: number;
  readonly signal?: AbortSignal;
  readonly progress?: (done: number, inFlight: number, total: number) => void;
}

export interface ReplayReport {
  readonly results: readonly ReplayResult[];
  readonly elapsedMs: number;
  /** Longest time a row was sent after its recorded time: above some ms, the client or the in-flight limit held it back. */
  readonly latestMs: number;
}

export function selectRows(
  rows: readonly TraceRow[],
  options: Pick<ReplayOptions, 'untilMs' | 'maxRequests' | 'maxPromptTokens' | 'maxOutputTokens'>,
): TraceRow[] {
  return rows
    .filter((row) => row.atMs <= options.untilMs && row.outputTokens > 0)
    .slice(0, options.maxRequests)
    .map((row) => ({
      ...row,
      promptTokens: Math.min(row.promptTokens, options.maxPromptTokens),
      outputTokens: Math.min(row.outputTokens, options.maxOutputTokens),
    }));
}

export async function replay(rows: readonly TraceRow[], options: ReplayOptions): Promise<ReplayReport> {
  const selected = selectRows(rows, options);
  const client = new Agent({ connections: options.maxInFlight, pipelining: 1 }).compose(
    (dispatch) => (request, handler) => dispatch({ ...request, origin: options.url }, handler),
  );
  const now = () => performance.now();
  const startedMs = now();
  const results: ReplayResult[] = [];
  const inFlight = new Set<Promise<void>>();
  let latestMs = 0;

  for (const [index, row] of selected.entries()) {
    const dueMs = startedMs + row.atMs / options.speed;
    if (dueMs > now()) await pause(dueMs - now(), undefined, { signal: options.signal }).catch(() => {});
    while (inFlight.size >= options.maxInFlight) await Promise.race(inFlight);
    if (options.signal?.aborted) break;
    latestMs = Math.max(latestMs, now() - dueMs);
    const request = { model: options.model, prompt: promptOf(row, options.seed + index), outputTokens: row.outputTokens, sloClass: options.sloClass };
    const sent = send(client, request, { apiKey: options.apiKey, now, signal: options.signal }).then((result) => {
      results.push(result);
      inFlight.delete(sent);
      options.progress?.(results.length, inFlight.size, selected.length);
    });
    inFlight.add(sent);
    options.progress?.(results.length, inFlight.size, selected.length);
  }
  await Promise.all(inFlight);
  await client.close();
  return { results, elapsedMs: now() - startedMs, latestMs };
}
