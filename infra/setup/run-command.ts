// Runs a program of set-up quietly, with a limit of time.
import { spawn } from 'node:child_process';

export interface RunOptions {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  readonly timeoutMs: number;
  /** Each line that it prints, as it comes. */
  readonly onLine?: (line: string) => void;
}

const tellingLines = 6;
const tellingChars = 400;

/** @returns what it printed. @throws Error with its telling words when it fails */
export function runCommand(command: string, args: readonly string[], { cwd, env, timeoutMs, onLine }: RunOptions): Promise<string> {
  return new Promise((done, failed) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs });
    let printed = '';
    let complaints = '';
    let rest = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
      if (onLine) rest = linesOf(rest + text, onLine);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaints += text;
    });
    child.on('error', (error) => failed(new Error(`${command} could not be run: ${error.message}`)));
    child.on('close', (code, signal) => {
      if (code === 0) done(printed);
      else failed(new Error(`${command} ended with ${signal ?? `code ${code}`}: ${tellingWords(complaints || printed)}`));
    });
  });
}

/** The first lines of a complaint that say something, without the decoration of npm and pip. */
export function tellingWords(text: string): string {
  return text
    .split('\n')
    .map((line) => line.replace(/^(npm (error|ERR!)|ERROR:|WARNING:)\s*/, '').trim())
    .filter((line) => line !== '' && !/complete log of this run|^Retrying /.test(line))
    .slice(0, tellingLines)
    .join('; ')
    .slice(0, tellingChars);
}

/** Hands over the whole lines. Returns what is left. */
function linesOf(text: string, onLine: (line: string) => void): string {
  const lines = text.split('\n');
  for (const line of lines.slice(0, -1)) onLine(line);
  return lines.at(-1) as string;
}
