// The simulated model: tokens are a function of (model, prompt, index), carried through the KV bytes.
//
// A rolling 64-bit state takes in one token after the other. The KV slot of a position holds the state after that
// position, expanded to the slot's size. The next token is made from two slots read back from memory: the last one, and
// one earlier position that the last one points at (a stand-in for attention). Missing, stale or damaged KV therefore
// gives other tokens than `expectedTokens`, which computes the same without any memory.
import { textOf, vocabularySize, words } from './vocabulary.ts';

/** Two unsigned 32-bit halves. Mutable: the hot path reuses objects. */
export interface RollingState {
  lo: number;
  hi: number;
}

export function startState(model: string): RollingState {
  const state = { lo: 0x9e3779b9, hi: 0x7f4a7c15 };
  for (let i = 0; i < model.length; i++) advance(state, model.charCodeAt(i));
  return state;
}

/** Takes in one token. */
export function advance(state: RollingState, tokenId: number): void {
  let lo = Math.imul(state.lo ^ (tokenId + 0x165667b1), 0x85ebca6b);
  lo ^= lo >>> 13;
  let hi = Math.imul(state.hi ^ lo, 0xc2b2ae35);
  hi ^= hi >>> 16;
  lo = Math.imul(lo + hi, 0x27d4eb2f);
  state.lo = (lo ^ (lo >>> 15)) >>> 0;
  state.hi = hi >>> 0;
}

/** A number that stands for everything the state has taken in: 53 of its bits, so that it is a safe integer. */
export function stateKey(state: RollingState): number {
  return state.hi * 0x20_0000 + (state.lo >>> 11);
}

/** Writes a slot of `length` 32-bit words (at least 2). */
export function writeSlot(memory: Uint32Array, at: number, length: number, state: RollingState): void {
  memory[at] = state.lo;
  memory[at + 1] = state.hi;
  let filler = state.lo ^ Math.imul(state.hi, 0x9e3779b1);
  for (let i = at + 2; i < at + length; i++) {
    filler = (Math.imul(filler, 1_664_525) + 1_013_904_223) | 0;
    memory[i] = filler;
  }
}

/** Reads a slot. A damaged one gives a wrong state rather than an error: the tokens will show it. */
export function readSlot(memory: Uint32Array, at: number, length: number, into: RollingState): void {
  const lo = memory[at]!;
  const hi = memory[at + 1]!;
  let filler = lo ^ Math.imul(hi, 0x9e3779b1);
  let damage = 0;
  for (let i = at + 2; i < at + length; i++) {
    filler = (Math.imul(filler, 1_664_525) + 1_013_904_223) | 0;
    damage |= filler ^ memory[i]!;
  }
  into.lo = (lo ^ damage) >>> 0;
  into.hi = (hi ^ Math.imul(damage, 0x85ebca6b)) >>> 0;
}

/** The earlier position that the state of position `last` points at. */
export function attendedPosition(state: RollingState, last: number): number {
  return state.hi % (last + 1);
}

/** The next output token, from the states of the last and of the attended position. */
export function nextToken(last: RollingState, attended: RollingState): number {
  let mixed = Math.imul(last.lo ^ ((attended.hi << 7) | (attended.hi >>> 25)), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13) ^ attended.lo, 0xc2b2ae35);
  return ((mixed ^ (mixed >>> 16)) >>> 0) % words.length;
}

/** Splits text into pieces of at most four characters that begin at spaces, and gives each an id. About a token per 4 bytes. */
export function tokenize(text: string): number[] {
  const ids: number[] = [];
  const span = vocabularySize - words.length;
  let hash = 0x811c9dc5;
  let size = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (size === 4 || (size > 0 && code <= 32)) {
      ids.push(words.length + ((hash >>> 0) % span));
      hash = 0x811c9dc5;
      size = 0;
    }
    hash = Math.imul(hash ^ code, 0x01000193);
    size++;
  }
  if (size > 0) ids.push(words.length + ((hash >>> 0) % span));
  return ids;
}

/** How many tokens the model says by itself when the client sets no limit: 16 to 255, from the prompt alone. */
export function naturalLength(model: string, promptIds: readonly number[]): number {
  const state = startState(model);
  for (const id of promptIds) advance(state, id);
  return 16 + (state.lo % 240);
}

/**
 * The first `count` output tokens for a prompt, computed without any KV memory: what every client must have seen,
 * whatever was batched, preempted or moved. `model` is the name that answers carry; see prompt.ts for the prompt's text.
 */
export function expectedTokens(model: string, promptText: string, count: number): { ids: number[]; text: string } {
  return expectedFromIds(model, tokenize(promptText), count);
}

/** The same for a prompt given as token ids. An empty prompt has no next token: @throws RangeError */
export function expectedFromIds(model: string, promptIds: readonly number[], count: number): { ids: number[]; text: string } {
  if (promptIds.length === 0) throw new RangeError('a prompt needs at least one token');
  const lows = new Uint32Array(promptIds.length + count);
  const highs = new Uint32Array(promptIds.length + count);
  const state = startState(model);
  const attended = { lo: 0, hi: 0 };
  const ids: number[] = [];
  let position = 0;
  const take = (id: number) => {
    advance(state, id);
    lows[position] = state.lo;
    highs[position++] = state.hi;
  };
  for (const id of promptIds) take(id);
  while (ids.length < count) {
    const at = attendedPosition(state, position - 1);
    attended.lo = lows[at]!;
    attended.hi = highs[at]!;
    const id = nextToken(state, attended);
    ids.push(id);
    take(id);
  }
  return { ids, text: textOf(ids) };
}
