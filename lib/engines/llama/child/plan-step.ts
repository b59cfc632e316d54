// What the next step computes: one token of every sequence that decodes, and prompts as far as the chunk goes. One step is
// one native batch, so a long prompt holds the others up for a chunk only.

export interface Pending {
  readonly id: number;
  /** Tokens known and not computed yet. */
  readonly tokens: number;
  /** A new token is wanted when they are. */
  readonly generates: boolean;
  /** It follows another engine, and the token after those that are known is wanted all the same. */
  readonly foresees: boolean;
}

export interface StepItem {
  readonly id: number;
  /** Tokens computed in this step. */
  readonly tokens: number;
  /** It gives a new token. */
  readonly samples: boolean;
}

/** A sequence that was taken over has a few tokens left of what its source said last: about a token's wait, and somebody waits for it. */
const takenOverTokens = 4;
/**
 * `pending` in the order in which the sequences began; `chunk`: prompt tokens of a step. What was taken over comes first; what
 * follows another engine comes before prompts, or it would never catch up. While others decode, who wait as long as the step
 * takes, followers get a quarter of the chunk, or half of what they are behind: less, and they would fall back for ever.
 */
export function planStep(pending: readonly Pending[], chunk: number): StepItem[] {
  const items: StepItem[] = [];
  const compute = (some: readonly Pending[], most: number): number => {
    let room = most;
    for (const { id, tokens, generates, foresees } of some) {
      const count = Math.min(tokens, room);
      if (count === 0) continue;
      room -= count;
      items.push({ id, tokens: count, samples: (generates || foresees) && count === tokens });
    }
    return most - room;
  };
  const decoding = pending.filter(({ generates, tokens }) => generates && tokens === 1);
  const takenOver = pending.filter(({ generates, tokens }) => generates && tokens > 1 && tokens <= takenOverTokens);
  const followers = pending.filter(({ generates, tokens }) => !generates && tokens > 0);
  const prompts = pending.filter(({ generates, tokens }) => generates && tokens > takenOverTokens);
  compute(decoding, decoding.length);
  let room = chunk - compute(takenOver, chunk);
  const isAwaited = decoding.length + takenOver.length > 0;
  const behind = followers.reduce((sum, { tokens }) => sum + tokens, 0);
  const share = isAwaited ? Math.max(Math.floor(chunk / 4), Math.ceil(behind / 2)) : room;
  room -= compute(followers, Math.min(room, share));
  compute(prompts, room);
  return items;
}
