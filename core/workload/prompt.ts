// Prompts of an exact length for replayed workloads. The same row and seed give the same text, and rows that share
// leading prefix ids share their leading text, so that prefix caches see what the trace saw.
import { tokenize } from '../engine/token-function.ts';

/** Tokens that one prefix id of a Mooncake trace stands for. */
const prefixBlockTokens = 512;
const letters = 'abcdefghijklmnopqrstuvwxyz';

/** A space and three letters: one token. */
function piece(seed: number): string {
  let hash = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0;
  hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35) >>> 0;
  return ` ${letters[hash % 26]}${letters[(hash >>> 8) % 26]}${letters[(hash >>> 16) % 26]}`;
}

function pieces(seed: number, count: number): string {
  let text = '';
  for (let index = 0; index < count; index++) text += piece(Math.imul(seed, 0x01000193) + index);
  return text;
}

/** Text of exactly `tokens` tokens (at least 1) for the simulated tokenizer. */
export function promptOf(row: { readonly promptTokens: number; readonly prefixIds: readonly number[] }, seed: number): string {
  const wanted = Math.max(1, row.promptTokens);
  let text = '';
  let left = wanted;
  for (const id of row.prefixIds) {
    const count = Math.min(prefixBlockTokens, left);
    text += pieces(id, count);
    left -= count;
  }
  return text + pieces(seed ^ 0x5bd1e995, left);
}

/** For tests and reports. */
export function tokensOf(text: string): number {
  return tokenize(text).length;
}
