// An actor: identity is kind + key, one message at a time, a pure step that returns effects.

export interface Actor<State, Message, Effect> {
  readonly kind: string;
  /** `step` changes the state it is given, for states too large to copy: after a failed step the host starts the actor anew. */
  readonly changesInPlace?: true;
  start(key: string, nowMs: number): State;
  /** Pure: never awaits, never reads the time or a random number. May return the same state object when nothing changed. */
  step(state: State, message: Message | Wake, nowMs: number): readonly [State, readonly Effect[]];
  /** When the actor wants a `wake` message: its only timer, derived from its state. */
  wakeAt(state: State): number | undefined;
  /** Throws on a broken invariant. Called after every step, in production too. */
  assertValid(state: State): void;
}

export interface Wake {
  readonly type: 'wake';
}

/** For assertValid. */
export function assert(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${what}`);
}
