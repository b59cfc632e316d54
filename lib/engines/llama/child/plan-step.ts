// What the next step computes: one token of every sequence that decodes, and prompts as far as the chunk goes. One step is
// one native batch, so a long prompt holds the others up for a chunk only.

export interface Pending {
  readonly id: number;
  /** Tokens known and not computed yet. */
  readonly tokens: number;
  /** A new token is wanted when they are. */
  readonly generates: boolean;
}

export interface StepItem {
  readonly id: number;
  /** Tokens computed in this step. */
  readonly tokens: number;
  /** It gives a new token. */
  readonly samples: boolean;
}

/**
 * `pending` in the order in which the sequences began; `chunk`: prompt tokens of a step. What follows another engine comes
 * before prompts, or it would never catch up.
 */
export function planStep(pending: readonly Pending[], chunk: number): StepItem[] {
  const items: StepItem[] = [];
  let room = chunk;
  const compute = ({ id, tokens, generates }: Pending) => {
    const count = Math.min(tokens, room);
    if (count === 0) return;
    room -= count;
    items.push({ id, tokens: count, samples: generates && count === tokens });
  };
  for (const one of pending) if (one.generates && one.tokens === 1) items.push({ id: one.id, tokens: 1, samples: true });
  for (const one of pending) if (!one.generates) compute(one);
  for (const one of pending) if (one.generates && one.tokens > 1) compute(one);
  return items;
}
