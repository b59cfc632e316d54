// Copying shares its process with engine steps and token links: it works in short turns, and in between they have theirs.
import { type Clock, sleep } from '../ports/clock.ts';

/** What a step or a token may have to wait for; sending 1 MB takes about as long. */
const turnMs = 2;

export interface Turns {
  /**
   * Does one piece of work. Resolves when the next may be done: at once, or when a turn is over and others had theirs. What is
   * urgent begins without waiting: a client waits for it.
   */
  work(piece: () => void, urgent: boolean): Promise<void>;
}

/** One for a process: all its transfers together take one turn at a time. */
export function createTurns(clock: Clock): Turns {
  let spentMs = 0;
  let rest: Promise<void> | undefined;

  return {
    async work(piece, urgent) {
      while (rest && !urgent) await rest;
      const beganMs = clock.now();
      piece();
      spentMs += clock.now() - beganMs;
      if (spentMs < turnMs) return;
      spentMs = 0;
      rest ??= sleep(clock, 0).then(() => {
        rest = undefined;
      });
      await rest;
    },
  };
}
