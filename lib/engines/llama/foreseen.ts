// The token that a target has chosen ahead of its source.

export interface Foreseen {
  /** Of prompt and output: how many come before it. */
  readonly after: number;
  readonly token: number;
}

/** What a target knows of a sequence that its source still speaks for. */
export interface Followed {
  readonly history: readonly number[];
  readonly foreseen: Foreseen | undefined;
}

/** The token that was chosen after exactly `tokens`; undefined: none was, or after others. */
export function tokenAfter(followed: Followed | undefined, tokens: readonly number[]): number | undefined {
  if (followed?.foreseen?.after !== tokens.length || followed.history.length !== tokens.length) return undefined;
  return tokens.every((token, index) => token === followed.history[index]) ? followed.foreseen.token : undefined;
}
