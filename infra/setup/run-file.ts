// .switchyard/run.json: what runs where, for the `switchyard` command, for a second `npm start`, and for cleaning up
// after a machine or a supervisor that went down hard.
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { commandOf } from './listening-port.ts';
import { isAlive } from './lock-file.ts';

export interface RunFile {
  readonly pid: number;
  readonly startedAtMs: number;
  readonly embedded: boolean;
  /** The base URL for OpenAI clients, ending in /v1. */
  readonly baseUrl: string;
  /** The operator API. */
  readonly consoleUrl: string;
  readonly temporalUiUrl?: string;
  readonly tracingUiUrl?: string;
  /** How to reach the servers, by the variables that name them. */
  readonly addresses: Readonly<Record<string, string>>;
  readonly processes: readonly { readonly id: string; readonly pid: number; readonly command: string }[];
}

const fileName = 'run.json';
/** Of an `npm start` without --state. */
export const defaultStateFolder = resolve(import.meta.dirname, '../../.switchyard');

export function writeRunFile(stateFolder: string, run: RunFile): void {
  const path = join(stateFolder, fileName);
  writeFileSync(`${path}.new`, `${JSON.stringify(run, null, 2)}\n`);
  renameSync(`${path}.new`, path);
}

export function removeRunFile(stateFolder: string): void {
  rmSync(join(stateFolder, fileName), { force: true });
}

/** What was last started from `stateFolder`; undefined when nothing runs from it. */
export function readRunFile(stateFolder = defaultStateFolder): RunFile | undefined {
  const run = parse(stateFolder);
  return run !== undefined && isAlive(run.pid) ? run : undefined;
}

/**
 * Processes that an earlier run has left behind. A process id may have gone to somebody else since: only those that
 * still run the recorded program count.
 */
export function leftBehind(stateFolder: string): readonly { id: string; pid: number }[] {
  const run = parse(stateFolder);
  if (run === undefined || isAlive(run.pid)) return [];
  return run.processes.filter((one) => isAlive(one.pid) && commandOf(one.pid)?.startsWith(one.command.slice(0, 100)));
}

function parse(stateFolder: string): RunFile | undefined {
  try {
    return JSON.parse(readFileSync(join(stateFolder, fileName), 'utf8')) as RunFile;
  } catch {
    return undefined;
  }
}
