// Ends the child processes when the supervisor is gone without having stopped them (kill -9): a shell that reads process
// ids from a pipe and, when the pipe closes, ends the groups it has been told of. It runs in a session of its own,
// so that neither Ctrl-C nor the end of the terminal reaches it.
import { type ChildProcess, spawn } from 'node:child_process';

const script = `
pids=""
while read -r op pid; do
  case "$op" in
    add) pids="$pids $pid" ;;
    drop) kept=""; for one in $pids; do [ "$one" = "$pid" ] || kept="$kept $one"; done; pids="$kept" ;;
    bye) exit 0 ;;
  esac
done
for one in $pids; do kill -s TERM -- "-$one" 2>/dev/null; done
round=0
while [ "$round" -lt 50 ]; do
  left=""
  for one in $pids; do if kill -s 0 -- "-$one" 2>/dev/null; then left=yes; fi; done
  [ -n "$left" ] || exit 0
  sleep 0.1
  round=$((round + 1))
done
for one in $pids; do kill -s KILL -- "-$one" 2>/dev/null; done
`;

export interface Reaper {
  /** `pid` leads a process group. */
  add(pid: number): void;
  drop(pid: number): void;
  /** Everything has been stopped in order: the reaper ends without touching anything. */
  dismiss(): void;
}

export function startReaper(): Reaper {
  const shell: ChildProcess = spawn('/bin/sh', ['-c', script, 'switchyard-reaper'], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
  shell.unref();
  shell.on('error', () => {});
  const pipe = shell.stdin;
  pipe?.on('error', () => {});
  const tell = (line: string) => {
    if (pipe?.writable) pipe.write(`${line}\n`);
  };
  return {
    add: (pid) => tell(`add ${pid}`),
    drop: (pid) => tell(`drop ${pid}`),
    dismiss() {
      tell('bye');
      pipe?.end();
    },
  };
}
