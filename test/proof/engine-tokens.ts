// What the engines themselves have said: more than the answers hold would mean that a request ran twice.
import { eventually } from '../support/eventually.ts';
import type { World } from './world.ts';

export interface EngineTokens {
  /** Fails unless the engines have said so many tokens since then. Only where no request was continued elsewhere or left. */
  saidOnce(tokens: number): Promise<void>;
}

async function said(world: World): Promise<number> {
  return (await world.fleet.instances()).reduce((sum, row) => sum + row.tokensOut, 0);
}

export async function countEngineTokens(world: World): Promise<EngineTokens> {
  const before = await said(world);
  return {
    saidOnce: (tokens) =>
      eventually('engines have said every token once', 30_000, async () => {
        const now = (await said(world)) - before;
        return { ok: now === tokens, seen: { said: now, answered: tokens } };
      }),
  };
}
