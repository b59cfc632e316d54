// Filters drop candidates that must not get the request, each with a reason. The first that drops a candidate is the one
// in the record; `saturation` is last: those it drops may be free again soon.
import type { RequestInfo } from '../../proto/gen/messages.ts';
import { blocksOf, contextTokens, isContinuation } from './candidate.ts';
import type { PoolTable } from './fleet-table.ts';
import type { RoutingProfile } from './profile.ts';

export const filterNames = ['health', 'cordon', 'accepting', 'role', 'avoid', 'context', 'saturation'] as const;
export type FilterName = (typeof filterNames)[number];

/** A verdict: 0 keeps the candidate, n is dropped by `filterNames[n - 1]`. */
const verdicts = { kept: 0, health: 1, cordon: 2, accepting: 3, role: 4, avoid: 5, context: 6, saturation: 7 } as const;

export interface FilterQuestion {
  readonly tokens: number;
  readonly continuation: boolean;
  readonly allowedWaiting: number;
  /** Where the request failed before, and what its gateway cannot reach. */
  readonly avoidedRows: ReadonlySet<number>;
  /** No healthy instance could take it: a suspect one is better than none (its reports may just be late). */
  readonly suspectsAllowed: boolean;
  /** Nothing is left beside the instances to avoid: one that has recovered is better than none. */
  readonly avoidedAllowed: boolean;
  /** Which roles may take it: `decode` stands for all but prefill. */
  readonly side: 'all' | 'decode' | 'prefill';
  /** Only who can hand it over, with its KV, to an instance with this `kvFit`. */
  readonly handsTo?: string | undefined;
}

/** `recorded` takes the place of what only the whole pool can tell, when `table` is a part of it. */
export function filterQuestion(
  request: RequestInfo,
  profile: RoutingProfile,
  table: PoolTable,
  recorded?: { readonly suspectsAllowed: boolean; readonly avoidedAllowed: boolean },
): FilterQuestion {
  const avoidedRows = new Set<number>();
  let [usable, usableHealthy] = [table.usable, table.usableHealthy];
  for (const instanceId of new Set(request.avoidInstances)) {
    const row = table.rowOf(instanceId);
    if (row === undefined) continue;
    avoidedRows.add(row);
    if (!table.isUsable(row)) continue;
    usable -= 1;
    if (table.health[row] === 0) usableHealthy -= 1;
  }
  return {
    tokens: contextTokens(request),
    continuation: isContinuation(request),
    allowedWaiting: profile.allowedWaiting,
    avoidedRows,
    suspectsAllowed: recorded?.suspectsAllowed ?? usableHealthy === 0,
    avoidedAllowed: recorded?.avoidedAllowed ?? usable === 0,
    side: 'all',
  };
}

/** The verdict on one row. Straight comparisons: it runs for every instance of the pool, for every request. */
export function verdictOn(question: FilterQuestion, table: PoolTable, row: number): number {
  const health = table.health[row]!;
  if (health === 2 || (health === 1 && !question.suspectsAllowed)) return verdicts.health;
  if (table.cordoned[row] === 1) return verdicts.cordon;
  if (table.accepting[row] === 0) return verdicts.accepting;
  if (!hasRole(question, table, row)) return verdicts.role;
  if (!question.avoidedAllowed && question.avoidedRows.size > 0 && question.avoidedRows.has(row)) return verdicts.avoid;
  const { maxContextTokens, blockTokens, totalBlocks } = table.numbers;
  const blocks = blocksOf(question.tokens, blockTokens[row]!);
  if ((maxContextTokens[row]! > 0 && question.tokens > maxContextTokens[row]!) || blocks > totalBlocks[row]!) return verdicts.context;
  const sequences = table.sequences[row]!;
  if (sequences >= placesOn(question, table, row)) return verdicts.saturation;
  // A continuation may wait for blocks at the engine: its client is watching a stopped stream. An idle engine takes what fits at all.
  if (question.continuation || sequences === 0) return verdicts.kept;
  return blocks > table.freeAfterDemand[row]! ? verdicts.saturation : verdicts.kept;
}

function hasRole({ side, handsTo }: FilterQuestion, { role, kvFits }: PoolTable, row: number): boolean {
  if (side === 'all') return true;
  if (side === 'decode') return role[row] !== 1;
  return role[row] === 1 && (handsTo === undefined || (handsTo !== '' && kvFits[row] === handsTo));
}

/** Batch and allowed waiting; a continuation may use the engine's whole waiting room. */
function placesOn({ continuation, allowedWaiting }: FilterQuestion, { numbers }: PoolTable, row: number): number {
  const maxWaiting = numbers.maxWaiting[row]!;
  return numbers.maxRunning[row]! + (continuation ? maxWaiting : Math.min(maxWaiting, allowedWaiting));
}

/** For people: why a row was dropped. */
export function reasonFor(verdict: number, question: FilterQuestion, table: PoolTable, row: number): string {
  const { numbers } = table;
  const blocks = blocksOf(question.tokens, numbers.blockTokens[row]!);
  switch (filterNames[verdict - 1]!) {
    case 'health':
      return table.health[row] === 2 ? 'dead' : 'suspect';
    case 'cordon':
      return 'cordoned';
    case 'accepting':
      return 'not accepting';
    case 'role':
      return question.side === 'prefill' ? 'its KV does not fit the decode instance' : 'computes long prompts only';
    case 'avoid':
      return 'the request failed here, or its gateway cannot reach it';
    case 'context': {
      const limit = numbers.maxContextTokens[row]!;
      const tooLong = limit > 0 && question.tokens > limit;
      return tooLong ? `${question.tokens} tokens, context ${limit}` : `${blocks} blocks, has ${numbers.totalBlocks[row]}`;
    }
    case 'saturation': {
      const [sequences, places] = [table.sequences[row]!, placesOn(question, table, row)];
      if (sequences >= places) return `${sequences} sequences, ${places} places`;
      return `${blocks} blocks wanted, ${table.freeAfterDemand[row]} free`;
    }
  }
}
