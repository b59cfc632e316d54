// What a person sees while things are set up: one line per step with the time it took. On a terminal the step that
// is going on is redrawn in place; elsewhere (CI, a pipe) only what is finished is written, and a sign of life every
// half minute.
import pc from 'picocolors';

export interface ProgressStep {
  /** What it is doing now; replaces what it said before. */
  doing(text: string): void;
  done(text: string): void;
  /** Finished, and not as hoped: the set-up goes on without it. */
  skipped(text: string): void;
  failed(text: string): void;
}

export interface Progress {
  step(name: string, doing: string): ProgressStep;
  /** A line of its own, above a step that is being redrawn. */
  say(text: string): void;
  /** Stops redrawing. */
  close(): void;
}

const nameWidth = 18;
const redrawMs = 120;
const signOfLifeMs = 30_000;

interface Active {
  readonly name: string;
  readonly beganAtMs: number;
  text: string;
  saidAtMs: number;
}

export function createProgress(out: NodeJS.WriteStream = process.stderr): Progress {
  const live = out.isTTY === true && process.env.CI === undefined;
  const active: Active[] = [];
  let drawn = false;
  const timer = setInterval(draw, live ? redrawMs : 1000);
  timer.unref();

  function erase(): void {
    if (drawn) out.write('\r\x1b[2K');
    drawn = false;
  }

  function write(line: string): void {
    erase();
    out.write(`${line}\n`);
    draw();
  }

  function draw(): void {
    const now = Date.now();
    if (live) {
      const step = active.at(-1);
      if (step === undefined) return;
      erase();
      const room = Math.max(20, (out.columns ?? 100) - 2);
      out.write(`  ${step.name.padEnd(nameWidth)}${step.text} ${seconds(now - step.beganAtMs)}`.slice(0, room));
      drawn = true;
      return;
    }
    for (const step of active.filter((one) => now - one.saidAtMs >= signOfLifeMs)) {
      step.saidAtMs = now;
      out.write(`  ${step.name.padEnd(nameWidth)}${step.text}, ${seconds(now - step.beganAtMs)} so far\n`);
    }
  }

  function begin(name: string, doing: string): ProgressStep {
    const beganAtMs = Date.now();
    const entry: Active = { name, beganAtMs, text: doing, saidAtMs: beganAtMs };
    active.push(entry);
    draw();
    const finish = (text: string, mark: (text: string) => string) => {
      const index = active.indexOf(entry);
      if (index < 0) return;
      active.splice(index, 1);
      write(mark(`  ${name.padEnd(nameWidth)}${text}${pc.dim(`  ${seconds(Date.now() - beganAtMs)}`)}`));
    };
    return {
      doing(text) {
        entry.text = text;
        draw();
      },
      done: (text) => finish(text, String),
      skipped: (text) => finish(text, pc.yellow),
      failed: (text) => finish(text, pc.red),
    };
  }

  return {
    step: begin,
    say: write,
    close() {
      clearInterval(timer);
      erase();
    },
  };
}

/** For who sets up in passing: nothing is shown. */
export const noProgress: Progress = {
  step: () => ({ doing: () => {}, done: () => {}, skipped: () => {}, failed: () => {} }),
  say: () => {},
  close: () => {},
};

function seconds(ms: number): string {
  return ms < 9_950 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms / 1000)} s`;
}
