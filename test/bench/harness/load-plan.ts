// What the load program is told and what it answers, and how a bench runs it.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface LoadPlan {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly model: string;
  readonly bodyBytes: number;
  /** Of each answer. */
  readonly tokens: number;
  readonly stream: boolean;
  readonly count: number;
  /** Connections. Without `perSecond` also the requests in flight. */
  readonly atOnce: number;
  /** Requests leave at this rate, whatever becomes of the earlier ones. */
  readonly perSecond?: number;
  /** In every prompt: other seeds give other prompts. */
  readonly seed: string;
}

export interface Summary {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

export interface LoadReport {
  readonly count: number;
  readonly failed: number;
  readonly firstFailure: string;
  readonly wallMs: number;
  /** Server-sent events, over all answers. */
  readonly events: number;
  readonly latencyMs: Summary;
  readonly firstByteMs: Summary;
  /** What the gateway says that it added; null in each where it says nothing. */
  readonly overheadMs: Summary;
  /** How late the load program itself was, at a fixed rate. */
  readonly lateMs: Summary;
}

const run = promisify(execFile);

/** @throws Error when any request failed, unless failures are only counted */
export async function runLoad(plan: LoadPlan, failures: 'throw' | 'count' = 'throw'): Promise<LoadReport> {
  const { stdout } = await run(process.execPath, [join(import.meta.dirname, 'load.ts'), JSON.stringify(plan)], { maxBuffer: 1 << 24 });
  const report = JSON.parse(stdout) as LoadReport;
  if (failures === 'count') return report;
  if (report.failed > 0) throw new Error(`${report.failed} of ${report.count} requests to ${plan.url} failed: ${report.firstFailure}`);
  if (plan.stream && report.events < plan.count * plan.tokens)
    throw new Error(`${report.events} events from ${plan.url}, ${plan.count * plan.tokens} tokens were asked for`);
  return report;
}
