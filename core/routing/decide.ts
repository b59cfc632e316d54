// One routing decision: filter, score, pick. Pure: the same table, hints, request, profile, time and seed give the same
// decision record byte for byte.
import type { DecisionRecord, PoolFacts, Refusal, RequestInfo } from '../../proto/gen/messages.ts';
import { refusal } from '../errors/switchyard-error.ts';
import { blocksOf } from './candidate.ts';
import { recordedCandidatesMax, recordOf } from './decision-record.ts';
import { type FilterQuestion, filterNames, filterQuestion, verdictOn } from './filters.ts';
import type { PoolTable, RequestHints } from './fleet-table.ts';
import { bestRows, type Pick, pick } from './picker.ts';
import { prefixBlockBytes } from './prefix-hash.ts';
import { scorerNames } from './profile.ts';
import type { RoutingQuestion, ViewFacts } from './routing-question.ts';
import { type ScoreQuestion, scorers } from './scorers.ts';

export interface RoutingDecision {
  /** Undefined: refused. */
  readonly chosen: { readonly instanceId: string; readonly address: string; readonly blocks: number; readonly computeTokens: number } | undefined;
  readonly refusal: Refusal | null;
  readonly record: DecisionRecord;
}

/** Lets the caller put a span around each stage. */
export type Stage = <T>(name: 'route.filter' | 'route.score' | 'route.pick', run: (note: StageNote) => T) => T;
export type StageNote = (facts: Readonly<Record<string, string | number>>) => void;

const untraced: Stage = (_, run) => run(() => {});

/** `recorded`: the facts of the whole pool, when `table` holds a part of it. */
export function decide(
  table: PoolTable,
  hints: RequestHints,
  view: ViewFacts,
  question: RoutingQuestion,
  stage: Stage = untraced,
  recorded?: PoolFacts,
): RoutingDecision {
  const { request, profile, seed } = question;
  const filtering = filterQuestion(request, profile, table, recorded);
  const { kept, facts } = stage('route.filter', (note) => {
    const found = filtered(table, filtering, recorded);
    note({ candidates: table.size, kept: found.kept.length, dropped: summary(found.facts) });
    return found;
  });
  const scoring: ScoreQuestion = {
    ...{ profile, hints, tokens: filtering.tokens, hashes: request.prefixHashes.length },
    ...{ leastSequences: facts.leastSequences, mostSequences: facts.mostSequences },
  };
  const ranked = stage('route.score', () => {
    const totals = scored(table, kept, scoring);
    return bestRows(kept, totals, Math.max(recordedCandidatesMax, profile.topK));
  });
  const picked = stage('route.pick', (note) => {
    if (ranked.length === 0) return undefined;
    const choice = pick(table, kept, table.scratch.totals, ranked, profile, seed);
    note(topFive(table, ranked, choice));
    return choice;
  });
  const [reason, refused] = picked ? [picked.reason, null] : refusedBecause(facts, request);
  return {
    chosen: picked && {
      instanceId: table.ids[picked.row]!,
      address: table.addresses[picked.row]!,
      blocks: blocksOf(filtering.tokens, table.numbers.blockTokens[picked.row]!),
      computeTokens: Math.max(1, filtering.tokens - ((hints.prefixBlocks.get(picked.row) ?? 0) * prefixBlockBytes) / 4),
    },
    refusal: refused,
    record: recordOf({ table, view, question, filtering, scoring, facts, ranked, chosen: picked?.row, reason }),
  };
}

/** Rows that no filter drops, ascending. The verdicts stay in the table's scratch. */
function filtered(table: PoolTable, question: FilterQuestion, recorded: PoolFacts | undefined): { kept: Int32Array; facts: PoolFacts } {
  const { verdicts, kept } = table.scratch;
  const { sequences, size } = table;
  const counts = new Array<number>(filterNames.length + 1).fill(0);
  let [count, leastSequences, mostSequences] = [0, Number.POSITIVE_INFINITY, 0];
  for (let row = 0; row < size; row++) {
    const verdict = verdictOn(question, table, row);
    verdicts[row] = verdict;
    counts[verdict]! += 1;
    if (verdict !== 0) continue;
    kept[count++] = row;
    if (sequences[row]! < leastSequences) leastSequences = sequences[row]!;
    if (sequences[row]! > mostSequences) mostSequences = sequences[row]!;
  }
  const facts = recorded ?? {
    suspectsAllowed: question.suspectsAllowed,
    avoidedAllowed: question.avoidedAllowed,
    leastSequences: count > 0 ? leastSequences : 0,
    mostSequences,
    dropped: filterNames.flatMap((filter, index) => (counts[index + 1]! > 0 ? [{ filter, candidates: counts[index + 1]! }] : [])),
  };
  return { kept: kept.subarray(0, count), facts };
}

/** Weighted mean of the scorers, by row, in the table's scratch. */
function scored(table: PoolTable, rows: Int32Array, question: ScoreQuestion): Float64Array {
  const { values, totals } = table.scratch;
  const { weights } = question.profile;
  let weightSum = 0;
  totals.fill(0);
  for (const name of scorerNames) {
    const weight = weights[name];
    if (weight === 0) continue;
    weightSum += weight;
    scorers[name](question, table, rows, values);
    for (let k = 0; k < rows.length; k++) totals[rows[k]!]! += values[rows[k]!]! * weight;
  }
  if (weightSum > 0) for (let k = 0; k < rows.length; k++) totals[rows[k]!]! /= weightSum;
  return totals;
}

/** For people: which filter dropped how many. */
function summary({ dropped }: PoolFacts): string {
  return dropped.map(({ filter, candidates }) => `${filter}=${candidates}`).join(' ');
}

function topFive({ ids, scratch: { totals } }: PoolTable, ranked: readonly number[], { row, reason }: Pick): Record<string, string | number> {
  const top = ranked.slice(0, 5).map((each) => `${ids[each]}=${totals[each]!.toFixed(4)}`);
  return { instance: ids[row]!, reason, score: totals[row]!, top: top.join(' ') };
}

function refusedBecause({ dropped }: PoolFacts, request: RequestInfo): [DecisionRecord['reason'], Refusal] {
  const by = (name: string) => dropped.some(({ filter }) => filter === name);
  if (by('saturation')) return ['all_saturated', refusal('all_saturated', `every instance of pool ${request.pool} is full`)];
  if (by('context')) {
    const message = `${request.promptTokens + request.generatedTokens} tokens do not fit any instance of pool ${request.pool}`;
    return ['too_long', refusal('context_length_exceeded', message)];
  }
  return ['no_candidate', refusal('no_instance', `no instance of pool ${request.pool} can take requests`)];
}
