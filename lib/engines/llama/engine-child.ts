// The process of one engine as the adapter sees it: started, asked, told, ended. What is asked of a process that dies is
// answered with that. Nothing here starts it again.
import { type ChildProcess, fork } from 'node:child_process';
import { SwitchyardError } from '../../../core/errors/switchyard-error.ts';
import { giveWay } from '../../run/give-way.ts';
import type { Answer, EngineFacts, FromChild, LoadOptions, Order, Question, StepReport, ToChild, Vocabulary } from './child/messages.ts';

export interface Loaded {
  readonly facts: EngineFacts;
  readonly vocabulary: Vocabulary;
}

export interface EngineChild {
  readonly pid: number | undefined;
  /** Settled when the model is loaded. Rejected with `invalid_config` when it cannot be, with `engine_unavailable` when the process died. */
  readonly loaded: Promise<Loaded>;
  /** @throws SwitchyardError (rejects) `engine_unavailable` when the process dies */
  ask(question: Question): Promise<Answer>;
  tell(order: Order): void;
  /** Resolves when it is gone. */
  kill(): Promise<void>;
}

export interface EngineChildHooks {
  readonly onStep: (report: StepReport) => void;
  /** Once, however it ended; not after `kill`. */
  readonly onExit: (why: string) => void;
}

const program = new URL('./child/main.ts', import.meta.url);
/** What it wrote last, for the message about its end. */
const keptOutputBytes = 2_000;

/** `niceness`: as nice(1) has it; 0: the priority of this process. */
export function startEngineChild(options: LoadOptions, hooks: EngineChildHooks, niceness: number): EngineChild {
  const child: ChildProcess = fork(program, [], {
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    execArgv: [],
    // A session of its own, for its priority; it ends with this process all the same.
    detached: true,
  });
  giveWay(child.pid, niceness);
  const calls = new Map<number, { resolve: (answer: Answer) => void; reject: (why: Error) => void }>();
  const loading = Promise.withResolvers<Loaded>();
  const gone = Promise.withResolvers<void>();
  loading.promise.catch(() => {});
  let lastCall = 0;
  let output = '';
  let ended = false;
  let killed = false;

  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-keptOutputBytes);
  });
  child.on('message', (message: FromChild) => {
    switch (message.type) {
      case 'step':
        hooks.onStep(message);
        return;
      case 'reply':
        calls.get(message.call)?.resolve(message.answer);
        calls.delete(message.call);
        return;
      case 'loaded':
        loading.resolve(message);
        return;
      case 'cannot_load':
        loading.reject(new SwitchyardError('invalid_config', message.message));
    }
  });
  child.on('error', (error) => end(error.message));
  child.on('exit', (code, signal) => end(signal ? `signal ${signal}` : `status ${code}`));

  function end(how: string): void {
    if (ended) return;
    ended = true;
    const said = output.trim().split('\n').at(-1);
    const why = `the engine's process has ended (${how})${said ? `: ${said}` : ''}`;
    const error = new SwitchyardError('engine_unavailable', why);
    loading.reject(error);
    for (const { reject } of calls.values()) reject(error);
    calls.clear();
    gone.resolve();
    if (!killed) hooks.onExit(why);
  }

  function send(message: ToChild): void {
    // A process that is about to end may have closed the channel: its end answers for it.
    if (child.connected) child.send(message, () => {});
  }

  send({ type: 'load_model', options });
  return {
    pid: child.pid,
    loaded: loading.promise,
    ask(question) {
      if (ended) return Promise.reject(new SwitchyardError('engine_unavailable', "the engine's process has ended"));
      const call = ++lastCall;
      const answered = new Promise<Answer>((resolve, reject) => calls.set(call, { resolve, reject }));
      send({ type: 'ask', call, question });
      return answered;
    },
    tell: send,
    kill() {
      killed = true;
      child.kill('SIGKILL');
      return gone.promise;
    },
  };
}
