// Where saved sequences lie for the moment between two processes: files in memory where the machine has room for them there.
// A folder of a process that died is removed by the next one.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs';
import { readFile, unlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const memoryFolder = '/dev/shm';
/** Containers often have 64 MB there: a few states at once would not fit. */
const roomyBytes = 512 * 1024 * 1024;
const prefix = 'switchyard-llama-';

export class StateFolder {
  readonly #path: string;
  #last = 0;

  /** @param pid of this process */
  constructor(pid: number, within = usualPlace()) {
    removeLeftBehind(within, pid);
    mkdirSync(within, { recursive: true });
    this.#path = mkdtempSync(join(within, `${prefix}${pid}-`));
  }

  /** A path that nothing has. */
  newPath(): string {
    return join(this.#path, `${++this.#last}.state`);
  }

  /** The bytes of a file, which is gone then. */
  async take(path: string): Promise<Uint8Array> {
    try {
      return await readFile(path);
    } finally {
      await unlink(path).catch(() => {});
    }
  }

  /** Calls `use` with the path of a file that has these bytes while it runs. */
  async lend<T>(bytes: Uint8Array, use: (path: string) => Promise<T>): Promise<T> {
    const path = this.newPath();
    try {
      await writeFile(path, bytes, { mode: 0o600 });
      return await use(path);
    } finally {
      await unlink(path).catch(() => {});
    }
  }

  remove(): void {
    rmSync(this.#path, { recursive: true, force: true });
  }
}

function usualPlace(): string {
  if (!existsSync(memoryFolder)) return tmpdir();
  const { bavail, bsize } = statfsSync(memoryFolder);
  return bavail * bsize >= roomyBytes ? memoryFolder : tmpdir();
}

function removeLeftBehind(within: string, ourPid: number): void {
  if (!existsSync(within)) return;
  for (const name of readdirSync(within)) {
    const pid = name.startsWith(prefix) ? Number(name.slice(prefix.length).split('-')[0]) : Number.NaN;
    if (Number.isInteger(pid) && pid > 0 && pid !== ourPid && !isAlive(pid)) rmSync(join(within, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code === 'EPERM';
  }
}
