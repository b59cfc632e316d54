// Lowers the priority of a process that leads a session of its own (spawned with `detached`).
import { writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';

/**
 * `niceness`: as nice(1) has it; 0: nothing happens. Best called at once: threads that are not there yet get the same. Where the
 * kernel schedules by session (Linux, sched_autogroup) a niceness counts only among processes of the same one, so that the session
 * gets it too.
 */
export function giveWay(pid: number | undefined, niceness: number): void {
  if (pid === undefined || niceness === 0) return;
  try {
    setPriority(pid, niceness);
    writeFileSync(`/proc/${pid}/autogroup`, String(niceness));
  } catch {
    // The process has ended, or this system has no such groups: it works as well with the usual priority.
  }
}
