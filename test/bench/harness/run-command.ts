// Runs a command to its end, for what a bench fetches.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const execute = promisify(execFile);
const limitMs = 300_000;

/** @throws Error with the last of what it printed */
export async function run(command: string, args: readonly string[], options: { cwd?: string } = {}): Promise<void> {
  try {
    await execute(command, args, { ...options, timeout: limitMs, maxBuffer: 1 << 24 });
  } catch (thrown) {
    const { stderr } = thrown as { stderr?: string };
    throw new Error(`${command} ${args.join(' ')}: ${stderr?.trim().slice(-500) || String(thrown)}`);
  }
}
