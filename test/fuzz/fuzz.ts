// Feeds entrances with inputs and looks after each batch whether anything broke.
import { createChooser } from './chooser.ts';
import type { Entrance } from './entrance.ts';
import { Findings } from './findings.ts';

export interface EntranceReport {
  readonly name: string;
  readonly inputs: number;
  readonly seconds: number;
  readonly outcomes: ReadonlyMap<string, number>;
  readonly heapGrowthMb: number;
}

export interface FuzzOptions {
  readonly seed: number;
  /** For each entrance. */
  readonly inputs: number;
}

/** A batch that takes longer than this in real time is a hang, or near to one. */
const longestBatchMs = 30_000;
/** The heap may grow by this much for caches, which have limits; what grows with the inputs soon passes it. */
const mostGrowthMb = 400;
/** Receivers are started anew after so many inputs, so that the corpus and the ids in it are fresh. */
const inputsPerTarget = 50_000;

export async function fuzz(entrances: readonly Entrance[], options: FuzzOptions): Promise<{ reports: EntranceReport[]; findings: Findings }> {
  const findings = new Findings();
  const uncaught = (thrown: unknown) => findings.thrown('uncaught', thrown);
  process.on('uncaughtException', uncaught);
  process.on('unhandledRejection', uncaught);
  try {
    const reports: EntranceReport[] = [];
    for (const entrance of entrances) {
      findings.entrance = entrance.name;
      reports.push(await feed(entrance, options.inputs, options.seed, findings));
    }
    return { reports, findings };
  } finally {
    process.off('uncaughtException', uncaught);
    process.off('unhandledRejection', uncaught);
  }
}

async function feed(entrance: Entrance, inputs: number, seed: number, findings: Findings): Promise<EntranceReport> {
  const startMs = performance.now();
  const outcomes = new Map<string, number>();
  let heapGrowthMb = 0;
  for (let fed = 0; fed < inputs; ) {
    findings.seed = seed + fed;
    const target = await entrance.open(seed + fed, findings);
    const heapBefore = heapMb();
    const until = Math.min(inputs, fed + inputsPerTarget);
    while (fed < until) {
      const batchStartMs = performance.now();
      findings.seed = seed + fed;
      const chooser = createChooser(findings.seed);
      for (let n = 0; n < entrance.batch && fed < until; n++, fed++) await target.feed(chooser);
      await target.settle();
      const tookMs = performance.now() - batchStartMs;
      if (tookMs > longestBatchMs) findings.add(`a batch took ${Math.round(tookMs / 1000)} s`);
    }
    const growth = heapMb() - heapBefore;
    heapGrowthMb = Math.max(heapGrowthMb, growth);
    if (growth > mostGrowthMb) findings.add(`the heap grew by ${Math.round(growth)} MB`);
    await target.close();
    for (const [what, times] of target.outcomes) outcomes.set(what, (outcomes.get(what) ?? 0) + times);
  }
  return { name: entrance.name, inputs, seconds: (performance.now() - startMs) / 1000, outcomes, heapGrowthMb };
}

function heapMb(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed / 1e6;
}
