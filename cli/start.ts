// `npm start`: everything on this machine, or with --embedded everything in this process. Ctrl-C stops it.
import { resolve } from 'node:path';
import { CommanderError } from 'commander';
import pc from 'picocolors';
import { commandOf } from '../infra/setup/listening-port.ts';
import { tryLock } from '../infra/setup/lock-file.ts';
import { createProgress } from '../infra/setup/progress.ts';
import { readRunFile } from '../infra/setup/run-file.ts';
import { parseSettings, type StartSettings } from '../infra/setup/settings.ts';
import type { Started } from '../infra/setup/start-local.ts';
import { onStopSignal } from '../infra/setup/stop-signal.ts';

const root = resolve(import.meta.dirname, '..');
const beganAtMs = Number(process.env.SWITCHYARD_BEGAN_AT_MS ?? Date.now());

function settingsOrExit(): StartSettings {
  try {
    return parseSettings(root, process.argv.slice(2), process.env);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exit(error.exitCode);
  }
}

/** The lock is the supervisor's process id; after a restart of the machine that id may be anybody's. */
function alreadyRuns(settings: StartSettings, pid: number): boolean {
  return /start\.ts|bootstrap\.mjs/.test(commandOf(pid) ?? '') || readRunFile(settings.stateFolder) !== undefined;
}

function takeLock(settings: StartSettings): { release(): void } {
  const path = resolve(settings.stateFolder, 'supervisor.lock');
  const lock = tryLock(path, (pid) => alreadyRuns(settings, pid));
  if ('release' in lock) return lock;
  const run = readRunFile(settings.stateFolder);
  const where = run ? `\n  clients    ${run.baseUrl}\n  operator   ${run.consoleUrl}` : '';
  process.stderr.write(
    `Switchyard already runs from this folder (process ${lock.heldBy}).${where}\nStop it with Ctrl-C where it was started, or: kill ${lock.heldBy}\nA second one beside it: npm start -- --state .switchyard-2 --gateway-port 9080 --console-port 9090\n`,
  );
  process.exit(1);
}

if (process.platform === 'win32') {
  process.stderr.write('npm start needs Linux or macOS. On Windows use WSL, or: docker compose up\n');
  process.exit(1);
}
delete process.env.SWITCHYARD_BEGAN_AT_MS;
const settings = settingsOrExit();
const lock = takeLock(settings);
const progress = createProgress();
process.stderr.write(`${pc.bold('Switchyard')} ${settings.embedded ? 'in one process' : 'on this machine'}\n`);

let running: Started | undefined;
const ended = onStopSignal({
  async stop() {
    progress.say('');
    await running?.stop((text) => progress.say(`  ${text}`));
  },
  kill: () => running?.kill(),
  finish(code) {
    progress.close();
    lock.release();
    process.exit(code);
  },
});

try {
  const begin = settings.embedded ? (await import('./embedded.ts')).startEmbedded : (await import('../infra/setup/start-local.ts')).startLocal;
  running = begin(settings, progress);
  const guide = await running.ready;
  if (!ended.stopping()) {
    progress.say(`\n${pc.green(`Ready in ${((Date.now() - beganAtMs) / 1000).toFixed(1)} s.`)}\n\n${guide}`);
    progress.say(pc.dim('Ctrl-C stops everything.'));
  }
} catch (error) {
  if (!ended.stopping()) {
    progress.say(`\n${pc.red(error instanceof Error && error.name !== 'TypeError' ? error.message : String((error as Error).stack))}`);
    await ended.stop(1);
  }
}
