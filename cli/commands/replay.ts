// replay: send a recorded workload through the HTTP API and verify every token.
import { readFile } from 'node:fs/promises';
import cliProgress from 'cli-progress';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type Summary, summarise } from '../../core/workload/percentiles.ts';
import { readTrace } from '../../core/workload/trace-file.ts';
import { readRunFile } from '../../infra/setup/run-file.ts';
import { CommandFailure } from '../client.ts';
import { duration, printTable, say } from '../output.ts';
import { type ReplayReport, replay, selectRows } from '../replay/replay.ts';
import type { ReplayResult } from '../replay/send.ts';
import { type ContextOf, present } from './context.ts';

const askTimeoutMs = 5_000;

interface Options {
  readonly gateway: string;
  readonly model: string;
  readonly key?: string;
  readonly seconds: number;
  readonly requests: number;
  readonly speed: number;
  readonly inFlight: number;
  readonly maxPrompt: number;
  readonly maxOutput: number;
  readonly tier: string;
  readonly seed: number;
  readonly ttftSlo: number;
  readonly tpotSlo: number;
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('a number above 0');
  return value;
}

function seed(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isInteger(value)) throw new InvalidArgumentError('a whole number');
  return value;
}

/** The gateway's origin; a base URL as OpenAI clients have it will do. */
function gatewayUrl(text: string): string {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol)) throw new InvalidArgumentError('an address like http://127.0.0.1:8080');
  return url.origin;
}

/** A wrong address, key or model would fail each request in the same way: it is said once, before the first. */
async function requireModel({ gateway, key, model }: Options): Promise<void> {
  const headers: Record<string, string> = key ? { authorization: `Bearer ${key}` } : {};
  const response = await fetch(`${gateway}/v1/models/${encodeURIComponent(model)}`, { headers, signal: AbortSignal.timeout(askTimeoutMs) }).catch(
    () => {
      throw new CommandFailure(
        `cannot reach the gateway at ${gateway}: is Switchyard running ("npm start")? Another address: --gateway`,
        3,
        'unreachable',
      );
    },
  );
  if (response.ok) return;
  const { error } = (await response.json().catch(() => ({}))) as { error?: { message?: string; code?: string } };
  throw new CommandFailure(error?.message ?? `${gateway} answered ${response.status}`, 4, error?.code ?? 'internal');
}

function report(run: ReplayReport, options: Options) {
  const { results } = run;
  const answered = results.filter((result) => result.outcome === 'exact' || result.outcome === 'wrong');
  const count = (outcome: ReplayResult['outcome']) => results.filter((result) => result.outcome === outcome).length;
  const numbers = (read: (result: ReplayResult) => number) => summarise(answered.map(read).filter((value) => !Number.isNaN(value)));
  const met = answered.filter((result) => result.ttftMs <= options.ttftSlo && (Number.isNaN(result.tpotMs) || result.tpotMs <= options.tpotSlo));
  return {
    requests: results.length,
    outcomes: { exact: count('exact'), wrong: count('wrong'), cut: count('cut'), refused: count('refused'), failed: count('failed') },
    tokens: results.reduce((sum, result) => sum + result.tokens, 0),
    elapsedMs: run.elapsedMs,
    latestMs: run.latestMs,
    ttftMs: numbers((result) => result.ttftMs),
    tpotMs: numbers((result) => result.tpotMs),
    e2eMs: numbers((result) => result.e2eMs),
    longestGapMs: numbers((result) => result.longestGapMs),
    attainment: results.length === 0 ? Number.NaN : met.length / results.length,
    problems: results.filter((result) => result.outcome !== 'exact').slice(0, 10),
  };
}

function show(summary: ReturnType<typeof report>, options: Options): void {
  const { outcomes } = summary;
  say(
    `${summary.requests} requests, ${summary.tokens} tokens in ${duration(summary.elapsedMs)}; sent at most ${duration(summary.latestMs)} after their time`,
  );
  say(
    `answers, every token compared: ${outcomes.exact} exact, ${outcomes.wrong} wrong, ${outcomes.cut} cut, ${outcomes.refused} refused, ${outcomes.failed} failed`,
  );
  const rows: [string, Summary][] = [
    ['TTFT', summary.ttftMs],
    ['TPOT', summary.tpotMs],
    ['E2E', summary.e2eMs],
    ['longest gap', summary.longestGapMs],
  ];
  const ms = (value: number) => (Number.isNaN(value) ? '-' : value.toFixed(1));
  printTable(
    rows,
    [
      { title: 'ms', value: ([name]) => name },
      ...(['mean', 'p50', 'p90', 'p95', 'p99', 'max'] as const).map((key) => ({
        title: key,
        value: ([, numbers]: [string, Summary]) => ms(numbers[key]),
        align: 'right' as const,
      })),
    ],
    '',
  );
  say(`attainment (TTFT <= ${options.ttftSlo} ms and TPOT <= ${options.tpotSlo} ms): ${(summary.attainment * 100).toFixed(1)} %`);
  for (const problem of summary.problems) say(`  ${problem.requestId || 'a request'}: ${problem.outcome}: ${problem.detail}`);
}

export function addReplayCommand(program: Command, contextOf: ContextOf): void {
  program
    .command('replay')
    .argument('<trace file>', 'Azure CSV (TIMESTAMP,ContextTokens,GeneratedTokens) or Mooncake JSONL')
    .description('send a recorded workload through the HTTP API and verify every token')
    .addOption(
      new Option('--gateway <url>', 'where clients connect')
        .env('SWITCHYARD_GATEWAY_URL')
        .argParser(gatewayUrl)
        .default(gatewayUrl(readRunFile()?.baseUrl ?? 'http://127.0.0.1:8080')),
    )
    .option('--model <name>', 'model that is asked', 'llama-3.1-8b')
    .addOption(new Option('--key <key>', 'API key').env('OPENAI_API_KEY'))
    .option('--seconds <n>', 'how much of the trace', positive, 60)
    .option('--requests <n>', 'at most this many requests', positive, 10_000)
    .option('--speed <factor>', '2 sends twice as fast as recorded', positive, 1)
    .option('--in-flight <n>', 'requests in flight at most', positive, 512)
    .option('--max-prompt <tokens>', 'longer prompts are cut to this', positive, 8_000)
    .option('--max-output <tokens>', 'longer answers are cut to this', positive, 2_000)
    .option('--tier <tier>', 'service_tier of the requests', 'default')
    .option('--seed <n>', 'of the prompts', seed, 1)
    .option('--ttft-slo <ms>', 'for attainment', positive, 2_000)
    .option('--tpot-slo <ms>', 'for attainment', positive, 100)
    .action(async (file: string, options: Options) => {
      const context = contextOf();
      const text = await readFile(file, 'utf8').catch((cause: unknown) => {
        throw new CommandFailure(`cannot read the trace: ${(cause as Error).message}`, 2, 'invalid_request');
      });
      const rows = readTrace(text);
      const limits = {
        untilMs: options.seconds * 1000,
        maxRequests: options.requests,
        maxPromptTokens: options.maxPrompt,
        maxOutputTokens: options.maxOutput,
      };
      await requireModel(options);
      const stop = new AbortController();
      const bar = new cliProgress.SingleBar(
        { format: 'replaying {bar} {value}/{total} done, {inFlight} in flight, {duration_formatted}', hideCursor: true },
        cliProgress.Presets.shades_classic,
      );
      const visible = process.stderr.isTTY && !context.json;
      if (visible) bar.start(selectRows(rows, limits).length, 0, { inFlight: 0 });
      process.once('SIGINT', () => stop.abort());
      const run = await replay(rows, {
        ...limits,
        url: options.gateway,
        model: options.model,
        apiKey: options.key ?? '',
        speed: options.speed,
        maxInFlight: options.inFlight,
        sloClass: options.tier,
        seed: options.seed,
        signal: stop.signal,
        progress: (done, inFlight) => visible && bar.update(done, { inFlight }),
      });
      if (visible) bar.stop();
      const summary = report(run, options);
      present(context, summary, (value) => show(value, options));
      if (summary.outcomes.wrong + summary.outcomes.cut + summary.outcomes.failed > 0) process.exitCode = 1;
    });
}
