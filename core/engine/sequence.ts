// One generation as the engine sees it: its tokens, how far their KV is computed, the blocks that hold it.
import { advance, startState, stateKey } from './token-function.ts';

export type Phase = 'waiting' | 'running' | 'ended';

export interface SequenceSpec {
  /** Unique on this engine: request and epoch. */
  readonly key: string;
  readonly promptIds: readonly number[];
  /** Output so far, for a continuation. */
  readonly outputIds: readonly number[];
  readonly maxOutputTokens: number;
  /** What the end says when maxOutputTokens is reached. */
  readonly endReason: 'stop' | 'length';
  readonly priority: number;
  readonly arrivalMs: number;
  /** A continuation is not held back by a full queue. */
  readonly continues: boolean;
}

export interface Sequence {
  readonly key: string;
  /** Prompt, then output. */
  readonly tokens: number[];
  readonly promptLength: number;
  readonly maxOutputTokens: number;
  readonly endReason: 'stop' | 'length';
  readonly priority: number;
  readonly arrivalMs: number;
  phase: Phase;
  blocks: number[];
  /** Tokens whose KV is in the blocks. */
  computed: number;
  /** Prompt tokens that were found in the prefix cache at the first admission. */
  cachedTokens: number;
  /** In the step that is being computed: its blocks stay until the step ends. */
  inStep: boolean;
  /** Leave at the end of the running step. */
  dropped: boolean;
  /** Stopped for a migration's last stage, or about to be at the end of the running step. */
  paused: boolean;
  /** Stopped because its reader is slow. */
  held: boolean;
  preemptions: number;
  everAdmitted: boolean;
  /** Prefix keys of full blocks, computed as far as they were needed. */
  readonly prefixKeys: number[];
}

export function sequenceOf(spec: SequenceSpec): Sequence {
  return {
    key: spec.key,
    tokens: [...spec.promptIds, ...spec.outputIds],
    promptLength: spec.promptIds.length,
    maxOutputTokens: spec.maxOutputTokens,
    endReason: spec.endReason,
    priority: spec.priority,
    arrivalMs: spec.arrivalMs,
    phase: 'waiting',
    blocks: [],
    computed: 0,
    cachedTokens: 0,
    inStep: false,
    dropped: false,
    paused: false,
    held: false,
    preemptions: 0,
    everAdmitted: false,
    prefixKeys: [],
  };
}

export function outputLength(sequence: Sequence): number {
  return sequence.tokens.length - sequence.promptLength;
}

/** Below zero: `a` goes first. Higher priority, then earlier arrival, then key. */
function compareRank(a: Sequence, b: Sequence): number {
  return b.priority - a.priority || a.arrivalMs - b.arrivalMs || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
}

/** Inserts into a list that is sorted by rank. */
export function insertByRank(list: Sequence[], sequence: Sequence): void {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareRank(list[middle]!, sequence) < 0) low = middle + 1;
    else high = middle;
  }
  list.splice(low, 0, sequence);
}

export function removeFrom(list: Sequence[], sequence: Sequence): void {
  const at = list.indexOf(sequence);
  if (at >= 0) list.splice(at, 1);
}

/** Chained keys of the full blocks of these tokens: key i stands for every token up to the end of block i. */
export function prefixKeysOf(model: string, tokens: readonly number[], blockTokens: number): number[] {
  const keys: number[] = [];
  const state = startState(model);
  for (let i = 0; i < tokens.length; i++) {
    advance(state, tokens[i]!);
    if ((i + 1) % blockTokens === 0) keys.push(stateKey(state));
  }
  return keys;
}

/** How many tokens of block `index` are written. */
export function blockVersion(sequence: Sequence, index: number, blockTokens: number): number {
  return Math.max(0, Math.min(blockTokens, sequence.computed - index * blockTokens));
}

/**
 * Blocks that a copy stage sends: written beyond what was sent before. While the sequence goes on, the block being
 * written is left for a later stage; the last stage takes everything.
 */
export function blocksToSend(sequence: Sequence, sentVersions: ReadonlyMap<number, number>, last: boolean, blockTokens: number): number[] {
  const wanted: number[] = [];
  const count = Math.ceil(sequence.computed / blockTokens);
  for (let index = 0; index < count; index++) {
    const version = blockVersion(sequence, index, blockTokens);
    if (version > (sentVersions.get(index) ?? 0) && (last || version === blockTokens)) wanted.push(index);
  }
  return wanted;
}
