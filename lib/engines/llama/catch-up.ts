// A target that follows computes what its source has said while the state was on its way. It is handed over to when it is close.
import { type Clock, sleep } from '../../ports/clock.ts';
import type { EngineChild } from './engine-child.ts';

/** Tokens left to compute at which it is close. */
const closeTokens = 2;
/** One that does not come so close has the rest to compute at the last stage, ms. */
const withinMs = 2_000;

/** Resolves when the sequence that follows is close, is no more, or takes too long. */
export async function caughtUp(child: EngineChild, clock: Clock, following: number): Promise<void> {
  const over = new AbortController();
  const close = child.ask({ type: 'caught_up', id: following, within: closeTokens }).catch(() => {});
  await Promise.race([close, sleep(clock, withinMs, over.signal)]);
  over.abort();
}
