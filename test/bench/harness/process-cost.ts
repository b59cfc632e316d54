// What processes have cost so far: CPU time and memory out of /proc, so Linux only.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

interface Stat {
  readonly parent: number;
  /** User and system time of all threads, µs. Counted in ticks of 10 ms as a rule. */
  readonly cpuMicros: number;
}

function statOf(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in parentheses, and may hold anything.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { parent: Number(fields[1]), cpuMicros: ((Number(fields[11]) + Number(fields[12])) / ticksPerSecond) * 1e6 };
  } catch {
    return undefined;
  }
}

/** The process and everything below it. */
export function treeOf(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const stat = /^\d+$/.test(name) ? statOf(Number(name)) : undefined;
    if (stat) parents.set(Number(name), stat.parent);
  }
  const tree = [pid];
  for (const member of tree) for (const [child, parent] of parents) if (parent === member) tree.push(child);
  return tree;
}

/** CPU time of a process's living threads so far, µs, as the scheduler measured it. Undefined: this kernel does not say. */
function scheduledMicros(pid: number): number | undefined {
  try {
    let nanos = 0;
    for (const thread of readdirSync(`/proc/${pid}/task`))
      nanos += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
    return nanos / 1000;
  } catch {
    return undefined;
  }
}

/** CPU time of living processes so far, µs: of their threads where the kernel measures them, else in ticks. */
export function cpuMicrosOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + (scheduledMicros(pid) ?? statOf(pid)?.cpuMicros ?? 0), 0);
}

/** Resident memory, MB. */
export function memoryMbOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    try {
      return sum + Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;
    } catch {
      return sum;
    }
  }, 0);
}

/** CPU microseconds that `run` costs each group of processes. */
export async function costOf<Name extends string>(
  groups: Readonly<Record<Name, readonly number[]>>,
  run: () => Promise<unknown>,
): Promise<Record<Name, number>> {
  const names = Object.keys(groups) as Name[];
  const before = names.map((name) => cpuMicrosOf(groups[name]));
  await run();
  return Object.fromEntries(names.map((name, index) => [name, cpuMicrosOf(groups[name]) - before[index]!])) as Record<Name, number>;
}

/** CPU microseconds a second that groups of processes take while nothing is asked of them. */
export async function idleRateOf(groups: readonly Readonly<Record<string, readonly number[]>>[], forMs: number): Promise<Record<string, number>[]> {
  const rest = () => pause(forMs);
  const costs = await Promise.all(groups.map((each) => costOf(each, rest)));
  return costs.map((cost) => Object.fromEntries(Object.entries(cost).map(([name, micros]) => [name, (micros * 1000) / forMs])));
}
