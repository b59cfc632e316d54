// Real child processes, because what is tested here is what the operating system does with them.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { isAlive } from './lock-file.ts';
import { type Reaper, startReaper } from './reaper.ts';
import { type ProcessSpec, type SupervisedProcess, superviseProcess } from './supervised-process.ts';

const withinMs = 8_000;
let folder: string;
let reaper: Reaper;
const running: SupervisedProcess[] = [];
const parents: ChildProcess[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'switchyard-child-'));
  reaper = startReaper();
});
afterEach(async () => {
  for (const parent of parents.splice(0)) parent.kill('SIGKILL');
  await Promise.all(running.splice(0).map((one) => one.stop(500)));
  reaper.dismiss();
  rmSync(folder, { recursive: true, force: true });
});

function shell(script: string, log: string[] = []): SupervisedProcess {
  const spec: ProcessSpec = { id: 'one', command: '/bin/sh', args: ['-c', script], cwd: folder, env: process.env };
  const started = superviseProcess(spec, join(folder, 'one.log'), reaper, {
    crashed: (_id, how, line, delayMs) => log.push(`${how}; ${line}; ${delayMs}`),
    restarted: () => log.push('restarted'),
    error: () => {},
  });
  running.push(started);
  return started;
}

/** Process id that a script wrote. */
const pidIn = (file: string) =>
  vi.waitFor(() => Number(readFileSync(join(folder, file), 'utf8').trim() || NaN) || Promise.reject(new Error('not yet')), withinMs);
const gone = (pid: number) => vi.waitFor(() => expect(isRunning(pid)).toBe(false), withinMs);

/** A zombie has ended, although its number is still taken. */
function isRunning(pid: number): boolean {
  if (!isAlive(pid)) return false;
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return process.platform !== 'linux';
  }
}

test('a killed process is started again after the first wait', async () => {
  const log: string[] = [];
  const one = shell('echo working; exec sleep 60', log);
  const first = one.pid() as number;
  process.kill(first, 'SIGKILL');
  await vi.waitFor(() => expect(log).toEqual(['was ended by SIGKILL; undefined; 500', 'restarted']), withinMs);
  expect(one.pid()).not.toBe(first);
});

test('a crash tells why', async () => {
  const log: string[] = [];
  shell('echo "Error: no such table" >&2; exit 3', log);
  await vi.waitFor(() => expect(log[0]).toBe('ended with code 3; Error: no such table; 500'), withinMs);
});

test('one that does not listen to SIGTERM is killed, with its children, and stays away', async () => {
  const log: string[] = [];
  const one = shell('trap "" TERM; sleep 60 & echo $! > child; echo ready > ready; wait; sleep 60', log);
  const child = await pidIn('child');
  const pid = one.pid() as number;
  await one.stop(200);
  await gone(pid);
  await gone(child);
  expect(log).toEqual([]);
});

test('its standard input ends when the supervisor is gone, and the reaper ends what does not notice', async () => {
  const script = join(folder, 'supervisor.mjs');
  const modules = JSON.stringify(import.meta.dirname);
  writeFileSync(
    script,
    `const { startReaper } = await import(${modules} + '/reaper.ts');
     const { superviseProcess } = await import(${modules} + '/supervised-process.ts');
     const reaper = startReaper();
     const events = { crashed() {}, restarted() {}, error() {} };
     const begin = (id, script) => superviseProcess({ id, command: '/bin/sh', args: ['-c', script], cwd: ${JSON.stringify(folder)}, env: process.env }, ${JSON.stringify(folder)} + '/' + id + '.log', reaper, events);
     begin('listens', 'echo $$ > listens; cat > /dev/null; echo noticed > noticed');
     begin('deaf', 'echo $$ > deaf; exec sleep 60');
     setInterval(() => {}, 1000);`,
  );
  const supervisor = spawn(process.execPath, [script], { stdio: 'ignore' });
  parents.push(supervisor);
  const pids = [await pidIn('listens'), await pidIn('deaf')];
  supervisor.kill('SIGKILL');
  for (const pid of pids) await gone(pid);
});
