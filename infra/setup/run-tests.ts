// `npm test`: provides the servers and llama.cpp as `npm start` does, then runs every test and closes with a summary. Arguments go
// to vitest: `npm test -- core` runs the tests below core; with `--project unit` nothing is provided.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import pc from 'picocolors';
import { provideLlama } from './llama-package.ts';
import { createProgress } from './progress.ts';
import { MissingProgramsError, provideAll } from './provide.ts';
import { closingLine, summarise, type TestReport } from './test-summary.ts';

const root = resolve(import.meta.dirname, '../..');
const reportPath = join(root, '.switchyard/test-report.json');
const args = process.argv.slice(2);
const neededPrograms = ['nats-server', 'redis-server', 'temporal'] as const;

/** The folders of the programs that tests start, for the front of PATH. Tests find llama.cpp in the cache, and are skipped without it. */
async function provideServers(): Promise<string[]> {
  const progress = createProgress();
  try {
    const [provided] = await Promise.all([provideAll(neededPrograms, { progress }), provideLlama(progress)]);
    for (const [index, { version, from }] of provided.entries()) progress.step(neededPrograms[index] as string, '').done(`${version} ${from}`);
    return provided.map(({ path }) => dirname(path));
  } finally {
    progress.close();
  }
}

function runVitest(path: string): Promise<number> {
  const vitest = join(root, 'node_modules/vitest/vitest.mjs');
  const child = spawn(process.execPath, [vitest, 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${reportPath}`, ...args], {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, PATH: path },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((done) => {
    child.on('error', (error) => {
      process.stderr.write(`${error.message}\n`);
      done(1);
    });
    child.on('exit', (code, signal) => done(signal ? 128 + constants.signals[signal] : (code ?? 1)));
  });
}

function readReport(): TestReport | undefined {
  try {
    return JSON.parse(readFileSync(reportPath, 'utf8')) as TestReport;
  } catch {
    return undefined;
  }
}

async function main(): Promise<number> {
  mkdirSync(dirname(reportPath), { recursive: true });
  rmSync(reportPath, { force: true });
  const onlyUnit = args.some((arg) => /^--project[= ]?unit$/.test(arg)) || args.join(' ').includes('--project unit');
  const folders = onlyUnit ? [] : await provideServers();
  const code = await runVitest([...new Set(folders), process.env.PATH ?? ''].join(delimiter));
  const summary = summarise(readReport(), code, root);
  const closing = closingLine(summary);
  process.stdout.write(`\n${summary.lines.join('\n')}\n${process.stdout.isTTY ? pc.bold(closing) : closing}\n`);
  return code !== 0 ? code : summary.failed > 0 ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof MissingProgramsError)) throw error;
  process.stderr.write(`\n${error.message}\n\n`);
  process.stdout.write('0 passed, 1 failed\n');
  process.exitCode = 1;
}
