// Child processes of a bench: started, awaited until they answer, and ended by their own id.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { eventually } from '../../support/eventually.ts';

export interface Child {
  readonly pid: number;
  /** The last of what it printed. */
  tail(): string;
  stop(): Promise<void>;
}

const keptCharacters = 4_000;

export interface ChildOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

export function startChild(command: string, args: readonly string[], options: ChildOptions = {}): Child {
  // A group of its own, so that what it starts ends with it.
  const child = spawn(command, args, { ...options, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  const keep = (part: Buffer) => {
    printed = (printed + part.toString()).slice(-keptCharacters);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  child.on('error', (thrown) => keep(Buffer.from(String(thrown))));
  process.once('exit', () => signalGroup(child, 'SIGKILL'));
  return {
    pid: child.pid ?? -1,
    tail: () => printed,
    async stop() {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      signalGroup(child, 'SIGTERM');
      const insist = setTimeout(() => signalGroup(child, 'SIGKILL'), 2_000);
      await ended;
      clearTimeout(insist);
    },
  };
}

function signalGroup(child: ChildProcess, name: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, name);
  } catch {
    // Gone already.
  }
}

/** A program of this folder, on this Node. */
export function startProgram(file: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Child {
  return startChild(process.execPath, [join(import.meta.dirname, file), ...args], { env });
}

/** @throws Error with what the child printed */
export async function untilAnswers(child: Child, url: string, limitMs = 30_000): Promise<void> {
  try {
    await eventually(`an answer from ${url}`, limitMs, async () => {
      const response = await fetch(url, { signal: AbortSignal.timeout(1_000) });
      await response.arrayBuffer();
      return { ok: response.status < 500, seen: response.status };
    });
  } catch (thrown) {
    throw new Error(`${String(thrown)}\n${child.tail()}`);
  }
}
