import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errorOf, openProcessLog, readable, tellingLine } from './process-log.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'switchyard-log-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function feed(texts: string[]): Promise<{ path: string; errors: string[]; tail: readonly string[] }> {
  const path = join(folder, 'logs/one.log');
  const errors: string[] = [];
  const log = openProcessLog(path, (message) => errors.push(message));
  const stream = Readable.from(texts);
  log.read(stream);
  await finished(stream);
  log.close();
  return { path, errors, tail: log.tail() };
}

describe('the log of a process', () => {
  test('lines are kept whole although they come in pieces', async () => {
    const { path, tail } = await feed(['first li', 'ne\nsecond line\nthe rest']);
    expect(readFileSync(path, 'utf8')).toBe('first line\nsecond line\nthe rest\n');
    expect(tail.at(-1)).toBe('the rest');
  });

  test('an error is passed on once, however often it is repeated', async () => {
    const line = `${JSON.stringify({ level: 'error', message: 'cannot reach Redis', error: { message: 'refused\nat once' } })}\n`;
    const { errors } = await feed([line, line, `${JSON.stringify({ level: 'warn', message: 'slow' })}\n`, line]);
    expect(errors).toEqual(['cannot reach Redis: refused']);
  });

  test('the file stays within its bound', async () => {
    const line = `${'x'.repeat(1_999)}\n`;
    const { path } = await feed(Array.from({ length: 6_000 }, () => line));
    expect(statSync(path).size).toBeLessThanOrEqual(5 * 1024 * 1024 + 2_100);
    expect(statSync(`${path}.old`).size).toBeLessThanOrEqual(5 * 1024 * 1024 + 2_100);
  });

  test('only the last lines are held in memory, and a line without end is cut', async () => {
    const { tail } = await feed(['y'.repeat(100_000), '\n', ...Array.from({ length: 50 }, (_, index) => `line ${index}\n`)]);
    expect(tail).toHaveLength(20);
    expect(tail.at(-1)).toBe('line 49');
  });
});

describe('what is told of a crash', () => {
  test.each([
    [['starting', 'Error: Cannot find module x', '    at resolve (node:internal)', '}', 'Node.js v24.21.0'], 'Error: Cannot find module x'],
    [['{"level":"error","message":"configuration refused"}', 'bye'], 'configuration refused'],
    [['panic: runtime error: index out of range', '', 'goroutine 1 [running]:'], 'panic: runtime error: index out of range'],
    [['Ready to accept connections'], undefined],
    [[], undefined],
  ])('%j', (tail, expected) => {
    expect(tellingLine(tail)).toBe(expected);
  });

  test.each([
    ['{"level":"error","message":"no"}', 'no'],
    ['{"level":"error","message":"no","error":"because"}', 'no: because'],
    ['{"level":"info","message":"fine"}', undefined],
    ['{ broken', undefined],
    ['plain text', undefined],
  ])('level of %s', (line, expected) => {
    expect(errorOf(line)).toBe(expected);
  });
});

test('a cause of several lines: the first that says something, or for a person all of them', () => {
  const line = JSON.stringify({
    level: 'error',
    message: 'could not start',
    error: 'the configuration is not valid:\n  gateway.yaml:2:1: unknown key "prt"',
  });
  expect(errorOf(line)).toBe('could not start: the configuration is not valid: gateway.yaml:2:1: unknown key "prt"');
  expect(readable(line)).toBe('could not start: the configuration is not valid:\n  gateway.yaml:2:1: unknown key "prt"');
  expect(readable('panic: no')).toBe('panic: no');
});
