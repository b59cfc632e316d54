// What is generated is current: the wire code and the reference pages.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { codes } from '../../core/errors/codes.ts';
import { root, textOf } from './source-files.ts';

const run = promisify(execFile);
const timeoutMs = 60_000;

async function output(command: string, args: readonly string[]): Promise<string> {
  try {
    await run(command, args, { cwd: root });
    return 'ok';
  } catch (thrown) {
    const { stdout, stderr } = thrown as { stdout?: string; stderr?: string };
    return `${stdout ?? ''}${stderr ?? ''}` || String(thrown);
  }
}

test('proto/gen is what proto/generate.ts makes', { timeout: timeoutMs }, async () => {
  expect(await output(process.execPath, ['proto/generate.ts', '--check'])).toBe('ok');
});

test('buf finds nothing wrong in proto', { timeout: timeoutMs }, async () => {
  expect(await output(join(root, 'node_modules/.bin/buf'), ['lint', 'proto'])).toBe('ok');
});

test('reference pages, dashboards and alert rules are what infra/docs/generate.ts makes', { timeout: timeoutMs }, async () => {
  expect(await output(process.execPath, ['infra/docs/generate.ts', '--check'])).toBe('ok');
});

test('docs/errors.md has every code, as it is in core/errors/codes.ts, with what it means', () => {
  const rows = textOf('docs/errors.md')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split('|').map((cell) => cell.trim()));
  const said = rows.map(([, code, http, type, retryable]) => [code, http, type, retryable].join(' '));
  const expected = Object.entries(codes).map(([code, { http, type, retryable }]) => [`\`${code}\``, http, type, retryable ? 'yes' : 'no'].join(' '));
  expect(said.toSorted()).toEqual(expected.toSorted());
  expect(rows.filter((cells) => (cells[5] ?? '').length < 10).map((cells) => cells[1])).toEqual([]);
});
