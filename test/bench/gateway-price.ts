// What a request and a streamed token cost each gateway, in CPU time: `npm run bench:gateway`. All contenders run side by side and
// take turns, round after round; the tables have the median round. The load comes from a process of its own, in bounded counts.

import type { ServiceName } from '../../lib/run/service.ts';
import { freePort } from '../support/ports.ts';
import { startProgram, untilAnswers } from './harness/child-process.ts';
import { type Contender, fakeModel, others } from './harness/contenders.ts';
import { inspectorEnv, profiled } from './harness/cpu-profile.ts';
import { type Ours, startOurs } from './harness/gateway-fleet.ts';
import { type LoadPlan, type LoadReport, runLoad } from './harness/load-plan.ts';
import { costOf, idleRateOf } from './harness/process-cost.ts';
import type { PriceTable } from './harness/report.ts';
import { type BenchRun, runBench } from './harness/run-bench.ts';
import { median, ratio, spread } from './harness/statistics.ts';

const tokenMs = 20;
const streams = 64;

interface Workload {
  readonly name: string;
  readonly plan: Pick<LoadPlan, 'bodyBytes' | 'tokens' | 'stream' | 'atOnce' | 'count' | 'perSecond'>;
  readonly warmUp: number;
  readonly rhythm: keyof Contender['models'];
  /** What the CPU time is divided by. */
  readonly units: number;
  readonly rounds: number;
}

function workloadsOf(mode: BenchRun['mode']): Workload[] {
  const full = mode === 'full';
  const request = (name: string, plan: { bodyBytes: number; tokens: number; atOnce: number; perSecond?: number }, count: number, warmUp: number) =>
    ({ name, plan: { ...plan, stream: false, count }, warmUp, rhythm: 'atOnce', units: count, rounds: full ? 3 : 2 }) as const;
  const tokens = full ? 250 : 80;
  const stream: Workload = {
    name: `SSE chunk of ${streams} streams at ${tokenMs} ms`,
    plan: { bodyBytes: 1_024, tokens, stream: true, atOnce: streams, count: streams },
    warmUp: full ? streams : 0,
    rhythm: 'paced',
    units: streams * tokens,
    rounds: full ? 3 : 1,
  };
  const always = [
    request('1 KB request', { bodyBytes: 1_024, tokens: 1, atOnce: 16 }, full ? 4_000 : 600, full ? 12_000 : 600),
    stream,
    request('220 KB prompt', { bodyBytes: 220_000, tokens: 1, atOnce: 4 }, full ? 150 : 40, full ? 300 : 20),
  ];
  if (!full) return always;
  return [
    ...always,
    // As many as the engines take: a process that wakes up finds more to do each time.
    request('1 KB request with 128 in flight', { bodyBytes: 1_024, tokens: 1, atOnce: 128 }, 6_000, 6_000),
    // At the same rate for everybody: whoever is asked less often finds colder caches, and a request costs several times as much.
    request('1 KB request at 300 a second', { bodyBytes: 1_024, tokens: 1, atOnce: 64, perSecond: 300 }, 1_200, 0),
    request('220 KB prompt at 10 a second', { bodyBytes: 220_000, tokens: 1, atOnce: 16, perSecond: 10 }, 40, 0),
    request('64 tokens not streamed at 100 a second', { bodyBytes: 1_024, tokens: 64, atOnce: 64, perSecond: 100 }, 400, 100),
  ];
}

interface Measured {
  /** CPU µs per unit, one entry a round. */
  readonly micros: Record<string, number[]>;
  readonly latencyMs: number[];
}

async function startEngines(run: BenchRun): Promise<string[]> {
  const urls: string[] = [];
  for (let engine = 0; engine < 2; engine++) {
    const port = await freePort();
    const child = startProgram('fake-engine.ts', [String(port), fakeModel, String(tokenMs)]);
    run.atEnd(() => child.stop());
    urls.push(`http://127.0.0.1:${port}`);
    await untilAnswers(child, `${urls.at(-1)}/v1/models`);
  }
  return urls;
}

interface Arrangement {
  readonly name: string;
  readonly together: readonly ServiceName[];
  /** In front of the engines that the others have; else simulated ones. */
  readonly onPlain: boolean;
}

/** Ours, by the name that `--only` takes: every service a process of its own, and those that a request crosses in one. */
const arrangements: Readonly<Record<string, Arrangement>> = {
  ours: { name: 'Switchyard', together: [], onPlain: false },
  plain: { name: 'Switchyard, same engines', together: [], onPlain: true },
  together: { name: 'Switchyard, gateway, admission, router in one process', together: ['gateway', 'admission', 'router'], onPlain: false },
};

async function startAll(run: BenchRun): Promise<{ contenders: Contender[]; ours: Ours[]; missing: string[] }> {
  const named = [...Object.keys(others), ...Object.keys(arrangements)].filter((name) => run.only.includes(name));
  const wanted = (name: string) => named.length === 0 || named.includes(name);
  const missing: string[] = [];
  const contenders: Contender[] = [];
  const keep = (contender: Contender) => {
    run.atEnd(() => contender.stop());
    contenders.push(contender);
  };
  const engines = await startEngines(run);
  for (const [name, start] of Object.entries(others)) {
    if (!wanted(name)) continue;
    try {
      keep(await start(engines));
    } catch (thrown) {
      missing.push(`${name}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
      run.say(`left out ${missing.at(-1)}`);
    }
  }
  const ours: Ours[] = [];
  for (const [only, { name, together, onPlain }] of Object.entries(arrangements)) {
    if (!wanted(only)) continue;
    const env = run.profileFolder ? { env: inspectorEnv } : {};
    const one = await startOurs({ name, streams, tokenMs, together, engines: onPlain ? engines : [], ...env });
    keep(one);
    ours.push(one);
  }
  return { contenders, ours, missing };
}

let loads = 0;

function planOf(contender: Contender, { plan, rhythm }: Workload): LoadPlan {
  return { ...plan, url: contender.url, headers: contender.headers, model: contender.models[rhythm], seed: `${process.pid}-${++loads}` };
}

async function warmUp(contender: Contender, workload: Workload): Promise<void> {
  if (workload.warmUp > 0) await runLoad({ ...planOf(contender, workload), count: workload.warmUp });
}

async function measure(contender: Contender, workload: Workload, idle: Readonly<Record<string, number>>, into: Measured): Promise<void> {
  let report: LoadReport | undefined;
  const startMs = performance.now();
  const cost = await costOf(contender.groups, async () => {
    report = await runLoad(planOf(contender, workload));
  });
  const seconds = (performance.now() - startMs) / 1000;
  for (const [group, micros] of Object.entries(cost)) {
    const perUnit = Math.max(0, micros - idle[group]! * seconds) / workload.units;
    into.micros[group] = [...(into.micros[group] ?? []), perUnit];
  }
  into.latencyMs.push(report!.latencyMs.p50);
}

async function profile(run: BenchRun, ours: Ours, workloads: readonly Workload[]): Promise<PriceTable[]> {
  const tables: PriceTable[] = [];
  for (const workload of workloads) {
    await warmUp(ours, workload);
    const name = workload.name.replace(/[^0-9a-zA-Z]+/g, '-');
    for (const id of ['gateway-1', ...(workload.plan.stream ? [] : ['admission-1', 'router-1'])]) {
      run.say(`${workload.name}: profile of ${id}`);
      const options = { folder: run.profileFolder!, name, count: workload.units };
      tables.push(...(await profiled(ours.fleet, id, options, () => runLoad(planOf(ours, workload)))));
    }
  }
  return tables;
}

await runBench('gateway', async (run) => {
  const all = workloadsOf(run.mode);
  const named = all.filter(({ name }) => run.only.includes(name));
  const workloads = named.length > 0 ? named : all;
  const { contenders, ours, missing } = await startAll(run);
  if (run.profileFolder && ours[0]) return profile(run, ours[0], workloads);

  const measured = new Map<string, Measured>();
  const at = (contender: Contender, workload: Workload): Measured => {
    const key = `${contender.name} ${workload.name}`;
    if (!measured.has(key)) measured.set(key, { micros: {}, latencyMs: [] });
    return measured.get(key)!;
  };
  run.say('what everybody does when idle');
  const idle = await idleRateOf(
    contenders.map(({ groups }) => groups),
    run.mode === 'full' ? 15_000 : 3_000,
  );
  for (const workload of workloads) {
    for (const contender of contenders) await warmUp(contender, workload);
    for (let round = 1; round <= workload.rounds; round++) {
      run.say(`${workload.name}: round ${round} of ${workload.rounds}`);
      for (const [index, contender] of contenders.entries()) await measure(contender, workload, idle[index]!, at(contender, workload));
    }
  }

  const price = (contender: Contender, workload: Workload, groups: readonly string[] = ['gateway']) =>
    groups.reduce((sum, group) => sum + median(at(contender, workload).micros[group] ?? []), 0);
  const base = contenders.find(({ name }) => name === 'bare');
  const inBare = (micros: number, workload: Workload) => (base ? ratio(micros, price(base, workload)) : null);
  const names = workloads.map(({ name }) => name);
  const widest = Math.max(...contenders.flatMap((contender) => workloads.map((workload) => spread(at(contender, workload).micros.gateway!))));
  const tables: PriceTable[] = [
    {
      title: 'Gateway process, CPU µs a unit, and times bare',
      columns: ['', ...names.flatMap((name) => [name, 'x bare'])],
      rows: contenders.map((contender) => [
        contender.name,
        ...workloads.flatMap((workload) => [price(contender, workload), inBare(price(contender, workload), workload)]),
      ]),
      notes: [
        'CPU time of the process that clients talk to and its children, as the scheduler measured it, less what it takes when idle',
        `median of the rounds, which lie up to ${Math.round(100 * widest)} % apart`,
        '1 KB: 16 in flight unless it says otherwise, answers of one token. 220 KB: 4 in flight. SSE: whole streams, their requests included, over their tokens',
        'Switchyard with key, budgets, admission, routing, metrics and traces on. The others: round robin unless the name says otherwise',
        ...missing.map((line) => `left out ${line}`),
      ],
    },
    {
      title: 'Latency as the client sees it, p50 ms',
      columns: ['', ...names],
      rows: contenders.map((contender) => [contender.name, ...workloads.map((workload) => median(at(contender, workload).latencyMs))]),
      notes: ['With simulated engines ours includes a step of theirs; the plain engines answer at once'],
    },
  ];
  const control = ['gateway', 'services', 'nats'];
  const parts: [string, string[]][] = [
    ['gateway, and what shares its process', ['gateway']],
    ['the other services', ['services']],
    ['NATS', ['nats']],
    ['gateway, services and NATS', control],
    ['Redis', ['redis']],
    ['agents, with the simulated engines that run in them', ['agents']],
  ];
  const columns = ['', 'idle, µs a second', ...names.flatMap((name) => [name, 'x bare'])];
  for (const one of ours) {
    const ourIdle = idle[contenders.indexOf(one)]!;
    const rows = parts.map(([title, groups]) => [
      title,
      groups.reduce((sum, group) => sum + ourIdle[group]!, 0),
      ...workloads.flatMap((workload) => [price(one, workload, groups), inBare(price(one, workload, groups), workload)]),
    ]);
    tables.push({ title: `${one.name}: by process, CPU µs a unit, and times bare`, columns, rows, notes: ['Less what each takes when idle'] });
  }
  return tables;
});
