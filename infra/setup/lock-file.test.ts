import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { tryLock, withLock } from './lock-file.ts';

/** Larger than any process id that Linux or macOS hands out. */
const nobody = 99_999_999;
let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'switchyard-lock-'));
  path = join(folder, 'locks/one.lock');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function take() {
  const lock = tryLock(path);
  if (!('release' in lock)) throw new Error(`held by ${lock.heldBy}`);
  return lock;
}

describe('lock file', () => {
  test('is held by one and names its holder to the other', () => {
    const lock = take();
    expect(tryLock(path)).toEqual({ heldBy: process.pid });
    lock.release();
    take().release();
  });

  test('whose owner is gone is taken over', () => {
    take().release();
    writeFileSync(path, String(nobody));
    expect(tryLock(path)).toHaveProperty('release');
  });

  test('whose number has gone to another program is taken over', () => {
    take();
    expect(tryLock(path, () => false)).toHaveProperty('release');
  });

  test('two that want it run one after the other', async () => {
    const events: string[] = [];
    let finishFirst = () => {};
    const first = withLock(
      path,
      () => {},
      async () => {
        events.push('first begins');
        await new Promise<void>((resolve) => {
          finishFirst = resolve;
        });
        events.push('first ends');
      },
    );
    const second = withLock(
      path,
      (pid) => {
        events.push(`second waits for ${pid === process.pid ? 'us' : pid}`);
        finishFirst();
      },
      async () => {
        events.push('second runs');
      },
    );
    await Promise.all([first, second]);
    expect(events).toEqual(['first begins', 'second waits for us', 'first ends', 'second runs']);
  });

  test('is free again after a failure', async () => {
    await expect(
      withLock(
        path,
        () => {},
        () => Promise.reject(new Error('no')),
      ),
    ).rejects.toThrow('no');
    take().release();
  });
});
