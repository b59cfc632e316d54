// All child processes of one `npm start`: starting, stopping in order, and saying in one line when one crashes.
import pc from 'picocolors';
import type { Progress } from './progress.ts';
import { startReaper } from './reaper.ts';
import { logPathOf, type StartSettings } from './settings.ts';
import { type ProcessSpec, type SupervisedProcess, superviseProcess } from './supervised-process.ts';

const sameCrashMs = 10_000;

export interface ProcessTable {
  start(spec: ProcessSpec): SupervisedProcess;
  get(id: string): SupervisedProcess | undefined;
  /** Stops those that are there, all at the same time; each is killed after `withinMs`. */
  stop(ids: readonly string[], withinMs: number): Promise<void>;
  /** For the run file. */
  list(): { id: string; pid: number; command: string }[];
  ids(): readonly string[];
  /** SIGKILL for all, at once. */
  killAll(): void;
  /** Called after everything has been stopped. */
  close(): void;
}

/** `changed` is called when a process has a new id or is gone. */
export function createProcessTable(settings: StartSettings, progress: Progress, changed: () => void): ProcessTable {
  const reaper = startReaper();
  const table = new Map<string, SupervisedProcess>();
  let closing = false;
  const said = new Map<string, { text: string; atMs: number }>();

  /** The same crash of the same process is told once in a while, not at every attempt. */
  function worthSaying(id: string, text: string): boolean {
    const last = said.get(id);
    if (last?.text === text && Date.now() - last.atMs < sameCrashMs) return false;
    said.set(id, { text, atMs: Date.now() });
    return true;
  }

  return {
    start(spec) {
      const running = table.get(spec.id);
      if (running) return running;
      const started = superviseProcess(spec, logPathOf(settings, spec.id), reaper, {
        crashed(id, how, line, restartInMs) {
          if (closing || !worthSaying(id, `${how} ${line}`)) return;
          const why = line === undefined ? '' : `: ${line.slice(0, 160)}`;
          progress.say(pc.yellow(`  ${id} ${how}${why}${/[.!?]$/.test(why) ? '' : '.'} It starts again in ${restartInMs / 1000} s.`));
        },
        restarted: changed,
        error(id, message) {
          if (!closing) progress.say(pc.red(`  ${id}: ${message.slice(0, 200)}`));
        },
      });
      table.set(spec.id, started);
      changed();
      return started;
    },
    get: (id) => table.get(id),
    async stop(ids, withinMs) {
      await Promise.all(
        ids.map(async (id) => {
          const running = table.get(id);
          if (!running) return;
          await running.stop(withinMs);
          table.delete(id);
        }),
      );
      changed();
    },
    list() {
      return [...table.values()].flatMap((one) => {
        const pid = one.pid();
        return pid === undefined ? [] : [{ id: one.id, pid, command: [one.spec.command, ...one.spec.args].join(' ') }];
      });
    },
    ids: () => [...table.keys()],
    killAll() {
      closing = true;
      for (const one of table.values()) one.kill();
    },
    close() {
      closing = true;
      reaper.dismiss();
    },
  };
}
