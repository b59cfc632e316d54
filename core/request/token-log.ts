// The tokens of a request so far. Successive logs share one array: a log sees its first `length` entries, so appending
// costs nothing per token already there. Only the newest log of a request may be appended to.

import type { Usage } from '../../proto/gen/messages.ts';

export interface TokenLog {
  /** Nothing when the log is not `exact`. */
  readonly ids: number[];
  readonly text: string;
  /** Tokens; pieces of text where an engine gave no ids. */
  readonly length: number;
  /** Every token's id is known. */
  readonly exact: boolean;
}

export function emptyTokenLog(): TokenLog {
  return { ids: [], text: '', length: 0, exact: true };
}

/** The log with these tokens behind it. Entries left behind by a step that was given up are overwritten. */
export function appendTokens(log: TokenLog, ids: readonly number[], text: string): TokenLog {
  if (!log.exact) return appendPieces(log, ids.length, text);
  if (log.ids.length !== log.length) log.ids.length = log.length;
  for (const id of ids) log.ids.push(id);
  return { ids: log.ids, text: log.text + text, length: log.length + ids.length, exact: true };
}

/** The log with text behind it whose tokens are not known. From here on it is a log of text. */
export function appendPieces(log: TokenLog, count: number, text: string): TokenLog {
  return { ids: [], text: log.text + text, length: log.length + count, exact: false };
}

/** What the request has produced: as counted here; of an engine that gives no token ids, as that counts it. */
export function outputTokens(log: TokenLog, usage: Usage | undefined): number {
  return log.exact ? log.length : (usage?.outputTokens ?? log.length);
}

/** A copy for sending. */
export function tokenIds(log: TokenLog): number[] {
  return log.exact ? log.ids.slice(0, log.length) : [];
}
