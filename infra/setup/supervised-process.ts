// One child process that is kept running: started again after a crash with growing waits, stopped with SIGTERM and
// then SIGKILL. It leads a process group of its own, so that Ctrl-C reaches the supervisor alone and stopping it takes
// its children along.
import { type ChildProcess, spawn } from 'node:child_process';
import { giveWay } from '../../lib/run/give-way.ts';
import { nextRestart, restartBackoff } from './backoff.ts';
import { openProcessLog, tellingLine } from './process-log.ts';
import type { Reaper } from './reaper.ts';

export interface ProcessSpec {
  /** Unique among the processes, for example router-1. */
  readonly id: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** 0 is normal; 10 leaves the processor to others first. */
  readonly niceness?: number;
}

export interface ProcessEvents {
  /** It ended although nobody stopped it. `line` is what it last said that tells why. */
  crashed(id: string, how: string, line: string | undefined, restartInMs: number): void;
  /** It runs again after a crash. */
  restarted(id: string, pid: number): void;
  /** It logged an error. */
  error(id: string, message: string): void;
}

export interface SupervisedProcess {
  readonly id: string;
  readonly spec: ProcessSpec;
  /** Undefined while it is not running. */
  pid(): number | undefined;
  /** Crashes in a row. */
  crashes(): number;
  logPath: string;
  tail(): readonly string[];
  /** Resolves when it has ended; SIGKILL after `withinMs`. */
  stop(withinMs: number): Promise<void>;
  /** To the process alone, if it runs. */
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL at once. */
  kill(): void;
}

export function superviseProcess(spec: ProcessSpec, logPath: string, reaper: Reaper, events: ProcessEvents): SupervisedProcess {
  const log = openProcessLog(logPath, (message) => events.error(spec.id, message));
  let child: ChildProcess | undefined;
  let crashes = 0;
  let stopping = false;
  let restart: NodeJS.Timeout | undefined;
  let ended: (() => void) | undefined;

  function launch(): void {
    const beganAtMs = Date.now();
    log.restart();
    const started = spawn(spec.command, spec.args, {
      cwd: spec.cwd,
      // The pipe of its standard input closes when we are gone, however we went: a service takes that as SIGTERM.
      env: { ...spec.env, SWITCHYARD_PARENT_PIPE: 'stdin' },
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    child = started;
    const { pid } = started;
    if (pid !== undefined) {
      reaper.add(pid);
      giveWay(pid, spec.niceness ?? 0);
      if (crashes > 0) events.restarted(spec.id, pid);
    }
    started.stdin?.on('error', () => {});
    log.read(started.stdout as NonNullable<typeof started.stdout>);
    log.read(started.stderr as NonNullable<typeof started.stderr>);
    let over = false;
    const finish = (how: string) => {
      if (over) return;
      over = true;
      if (pid !== undefined) reaper.drop(pid);
      child = undefined;
      if (stopping) {
        ended?.();
        return;
      }
      const next = nextRestart(restartBackoff, crashes, Date.now() - beganAtMs);
      crashes = next.crashes;
      events.crashed(spec.id, how, tellingLine(log.tail()), next.delayMs);
      restart = setTimeout(launch, next.delayMs);
    };
    started.on('error', (error) => finish(`could not be started: ${error.message}`));
    // What it has started goes with it, and no longer holds its outputs open.
    started.on('exit', () => pid !== undefined && killGroup(pid, 'SIGKILL'));
    // 'close' comes after the last of its output, so that the telling line is there.
    started.on('close', (code, signal) => finish(signal ? `was ended by ${signal}` : `ended with code ${code}`));
  }

  launch();
  return {
    id: spec.id,
    spec,
    pid: () => child?.pid,
    crashes: () => crashes,
    logPath,
    tail: log.tail,
    async stop(withinMs) {
      stopping = true;
      clearTimeout(restart);
      const { pid } = child ?? {};
      if (pid !== undefined) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(() => killGroup(pid, 'SIGKILL'), withinMs);
          ended = () => {
            clearTimeout(timer);
            resolve();
          };
          process.kill(pid, 'SIGTERM');
        });
      }
      log.close();
    },
    signal: (signal) => void child?.kill(signal),
    kill() {
      stopping = true;
      clearTimeout(restart);
      if (child?.pid !== undefined) killGroup(child.pid, 'SIGKILL');
    },
  };
}

function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // It has ended already.
  }
}
