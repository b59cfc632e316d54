// A lock between processes: a file that is created exclusively and holds its owner's process id.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const pollMs = 250;

/** True while a process with this id exists, of whichever user. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * Takes the lock, or returns the id of the process that holds it. A lock whose owner is gone is taken over;
 * `isOwner` says whether a living process with that id is the owner and not one that has its number by chance.
 */
export function tryLock(path: string, isOwner: (pid: number) => boolean = () => true): { release(): void } | { heldBy: number } {
  mkdirSync(dirname(path), { recursive: true });
  for (;;) {
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' });
      return { release: () => rmSync(path, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const owner = ownerOf(path);
    if (owner !== undefined && isAlive(owner) && isOwner(owner)) return { heldBy: owner };
    rmSync(path, { force: true });
  }
}

/** Waits for the lock, as long as its owner lives; `waiting` is called once when it is not free at once. */
export async function withLock<T>(path: string, waiting: (pid: number) => void, run: () => Promise<T>): Promise<T> {
  let told = false;
  for (;;) {
    const lock = tryLock(path);
    if ('release' in lock) {
      try {
        return await run();
      } finally {
        lock.release();
      }
    }
    if (!told) waiting(lock.heldBy);
    told = true;
    await pause(pollMs);
  }
}

function ownerOf(path: string): number | undefined {
  try {
    const pid = Number(readFileSync(path, 'utf8'));
    // The file may be seen between its creation and its content: that owner is alive and about to write.
    return Number.isInteger(pid) && pid > 0 ? pid : process.pid;
  } catch {
    return undefined;
  }
}
