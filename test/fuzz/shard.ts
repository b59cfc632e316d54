// One entrance in a process of its own: started by run.ts, tells it how it went.
import { entrances } from './entrances/all.ts';
import type { Finding } from './findings.ts';
import { type EntranceReport, fuzz } from './fuzz.ts';

export interface Shard {
  readonly name: string;
  readonly seed: number;
  readonly inputs: number;
}

export interface ShardResult {
  readonly report: Omit<EntranceReport, 'outcomes'>;
  readonly outcomes: readonly (readonly [string, number])[];
  readonly findings: readonly Finding[];
}

const { name, seed, inputs } = JSON.parse(process.argv[2]!) as Shard;
const { reports, findings } = await fuzz(
  entrances.filter((entrance) => entrance.name === name),
  { seed, inputs },
);
const { outcomes, ...report } = reports[0]!;
const result: ShardResult = { report, outcomes: [...outcomes], findings: findings.all };
process.send!(result, () => process.exit(0));
