// The tokens of a request so far. Successive logs share one array: a log sees its first `length` entries, so appending
// costs nothing per token already there. Only the newest log of a request may be appended to.

export interface TokenLog {
  readonly ids: number[];
  readonly text: string;
  readonly length: number;
}

export function emptyTokenLog(): TokenLog {
  return { ids: [], text: '', length: 0 };
}

/** The log with these tokens behind it. Entries left behind by a step that was given up are overwritten. */
export function appendTokens(log: TokenLog, ids: readonly number[], text: string): TokenLog {
  if (log.ids.length !== log.length) log.ids.length = log.length;
  for (const id of ids) log.ids.push(id);
  return { ids: log.ids, text: log.text + text, length: log.length + ids.length };
}

/** A copy for sending. */
export function tokenIds(log: TokenLog): number[] {
  return log.ids.slice(0, log.length);
}
