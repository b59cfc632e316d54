// The frame of every bench: options, machine facts, progress lines, clean-up however it ends, tables and result file.
import { relative } from 'node:path';
import { parseArgs } from 'node:util';
import { caution, commitOf, machineFacts, type PriceTable, printTables, type Result, saveResult } from './report.ts';

export interface BenchRun {
  readonly mode: Result['mode'];
  /** Parts that were asked for by name; empty: all. */
  readonly only: readonly string[];
  /** A folder for CPU profiles, when asked for. */
  readonly profileFolder: string | undefined;
  say(line: string): void;
  /** Runs in reverse order when the bench ends, fails or is interrupted. */
  atEnd(run: () => Promise<unknown> | undefined): void;
}

const help = (name: string) => `npm run bench:${name} -- [--short] [--only=a,b] [--profile=folder]
  --short    small counts, under a minute; kept as ${name}-short.json
  --only     some of its parts by name; nothing is kept
  --profile  writes CPU profiles of our services into a folder; nothing is kept\n`;

export async function runBench(name: string, measure: (run: BenchRun) => Promise<readonly PriceTable[]>): Promise<void> {
  const { values } = parseArgs({
    options: { short: { type: 'boolean' }, only: { type: 'string' }, profile: { type: 'string' }, help: { type: 'boolean' } },
  });
  if (values.help) {
    process.stdout.write(help(name));
    return;
  }
  const endings: (() => Promise<unknown> | undefined)[] = [];
  let ended: Promise<void> | undefined;
  const endAll = async () => {
    for (const ending of endings.reverse()) await ending()?.catch((thrown: unknown) => process.stderr.write(`${thrown}\n`));
  };
  // Once, whether the bench ends or is interrupted: what it measures fails when that is stopped, and must not end us first.
  const end = () => (ended ??= endAll());
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void end().then(() => process.exit(130)));
  const say = (line: string) => process.stderr.write(`${line}\n`);

  const machine = machineFacts();
  const startedAt = new Date();
  say(
    `${machine.cores} cores, load ${machine.loadBefore.toFixed(1)}, a sleep of 1 ms is ${machine.timerLateMs.p99.toFixed(2)} ms late (p99); ${caution}`,
  );
  if (machine.loadBefore > machine.cores / 4) say('This machine is busy: times and ratios will be off.');
  const mode = values.short ? 'short' : 'full';
  const only = values.only?.split(',') ?? [];
  try {
    const tables = await measure({ mode, only, profileFolder: values.profile, say, atEnd: (run) => endings.push(run) });
    printTables(tables);
    if (only.length > 0 || values.profile) return;
    const command = `npm run bench:${name}${mode === 'short' ? ' -- --short' : ''}`;
    const tookS = Math.round((Date.now() - startedAt.getTime()) / 1000);
    const path = saveResult({ bench: name, mode, command, commit: commitOf(), startedAt: startedAt.toISOString(), tookS, machine, tables });
    say(`\nkept in ${relative(process.cwd(), path)}; \`npm run bench:page\` puts it into docs/prices.md`);
  } finally {
    await end();
  }
}
