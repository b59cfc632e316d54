import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { StateFolder } from './state-folder.ts';

const within = mkdtempSync(join(tmpdir(), 'switchyard-state-folder-'));
afterEach(() => rmSync(within, { recursive: true, force: true }));

test('a file that is taken is gone', async () => {
  const folder = new StateFolder(process.pid, within);
  const path = folder.newPath();
  writeFileSync(path, 'state');
  expect(Buffer.from(await folder.take(path)).toString()).toBe('state');
  expect(existsSync(path)).toBe(false);
  await expect(folder.take(path)).rejects.toThrow();
});

test('a file that is lent is there meanwhile, for this user alone, also when its use fails', async () => {
  const folder = new StateFolder(process.pid, within);
  let lent = '';
  const use = async (path: string) => {
    lent = path;
    expect([readFileSync(path, 'utf8'), statSync(path).mode & 0o777, statSync(dirname(path)).mode & 0o777]).toEqual(['state', 0o600, 0o700]);
    throw new Error('refused');
  };
  await expect(folder.lend(Buffer.from('state'), use)).rejects.toThrow('refused');
  expect(existsSync(lent)).toBe(false);
});

test('what processes that died have left is removed, what others use is not', () => {
  const dead = join(within, `switchyard-llama-${2 ** 22 + 1}-abc`);
  const alive = join(within, `switchyard-llama-${process.ppid}-abc`);
  const other = join(within, 'something else');
  for (const path of [dead, alive, other]) mkdirSync(path, { recursive: true });
  const folder = new StateFolder(process.pid, within);
  expect([dead, alive, other].map((path) => existsSync(path))).toEqual([false, true, true]);
  folder.remove();
  expect(readdirSync(within).filter((name) => name.startsWith(`switchyard-llama-${process.pid}-`))).toEqual([]);
});
