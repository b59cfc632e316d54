// A program: the clients of a bench, in a process of their own, so that they cost the measured ones nothing. Takes a LoadPlan
// as JSON in its only argument, prints a LoadReport as JSON. Every count is bounded: it ends by itself.
import { Pool } from 'undici';
import { type Exchange, exchange } from './exchange.ts';
import type { LoadPlan, LoadReport } from './load-plan.ts';
import { percentile } from './statistics.ts';

const plan = JSON.parse(process.argv[2] ?? '') as LoadPlan;
const pool = new Pool(plan.url, {
  connections: plan.atOnce,
  pipelining: 1,
  headersTimeout: 0,
  bodyTimeout: 0,
  // On a busy machine the load program itself may be late to notice that it is connected.
  connect: { timeout: 60_000 },
});
const filler = 'the quick brown fox jumps over the lazy dog and runs along the river ';

/** A body of `plan.bodyBytes`; no two prompts begin alike, so that no cache of prefixes helps. */
function bodyOf(index: number): string {
  const { model, bodyBytes, tokens, stream } = plan;
  const build = (content: string) => JSON.stringify({ model, max_tokens: tokens, stream, messages: [{ role: 'user', content }] });
  const begin = `${plan.seed}-${index} `;
  const room = Math.max(0, bodyBytes - build(begin).length);
  return build(begin + filler.repeat(Math.ceil(room / filler.length)).slice(0, room));
}

const headers = { 'content-type': 'application/json', ...plan.headers };
const done: Exchange[] = [];
const lateMs: number[] = [];
let started = 0;

async function one(): Promise<void> {
  const index = started++;
  done.push(await exchange(pool, { path: '/v1/chat/completions', headers, body: bodyOf(index) }));
}

/** Each slot sends its next request when its last one has ended. */
async function closedLoop(): Promise<void> {
  const slot = async () => {
    while (started < plan.count) await one();
  };
  await Promise.all(Array.from({ length: Math.min(plan.atOnce, plan.count) }, slot));
}

/** Requests leave at fixed times, whatever becomes of the earlier ones. */
async function openLoop(perSecond: number): Promise<void> {
  const startMs = performance.now();
  const running: Promise<void>[] = [];
  while (started < plan.count) {
    const dueMs = startMs + (started * 1000) / perSecond;
    const waitMs = dueMs - performance.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    lateMs.push(performance.now() - dueMs);
    running.push(one());
  }
  await Promise.all(running);
}

const startMs = performance.now();
await (plan.perSecond ? openLoop(plan.perSecond) : closedLoop());
const wallMs = performance.now() - startMs;
await pool.close();

const failed = done.filter(({ failure }) => failure !== '');
const summary = (values: readonly number[]) => {
  const known = values.filter((value) => !Number.isNaN(value));
  return { p50: percentile(known, 0.5), p95: percentile(known, 0.95), p99: percentile(known, 0.99) };
};
const report: LoadReport = {
  count: done.length,
  failed: failed.length,
  firstFailure: failed[0]?.failure ?? '',
  wallMs,
  events: done.reduce((sum, { events }) => sum + events, 0),
  latencyMs: summary(done.map(({ totalMs }) => totalMs)),
  firstByteMs: summary(done.map(({ firstByteMs }) => firstByteMs)),
  overheadMs: summary(done.map(({ overheadMs }) => overheadMs)),
  lateMs: summary(lateMs),
};
process.stdout.write(JSON.stringify(report));
