// Waits for a condition in the real world, and says what it saw when the condition does not come.
import { setTimeout as pause } from 'node:timers/promises';

export interface Look {
  readonly ok: boolean;
  readonly seen: unknown;
}

const betweenLooksMs = 25;

/** @throws Error with the last thing seen after `limitMs`. A look that throws counts as "not yet", unless its message names an exit. */
export async function eventually(what: string, limitMs: number, look: () => Promise<Look> | Look): Promise<void> {
  const untilMs = performance.now() + limitMs;
  let seen: unknown = 'nothing yet';
  while (performance.now() < untilMs) {
    try {
      const found = await look();
      if (found.ok) return;
      seen = found.seen;
    } catch (thrown) {
      if (thrown instanceof Error && thrown.message.includes('exited with')) throw thrown;
      seen = String(thrown);
    }
    await pause(betweenLooksMs);
  }
  throw new Error(`not within ${limitMs} ms: ${what}; last seen: ${JSON.stringify(seen)}`);
}
