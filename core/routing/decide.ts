// One routing decision: filter, score, pick. Pure: the same table, hints, request, profile, time and seed give the same
// decision record byte for byte.
import type { DecisionRecord, PoolFacts, Refusal, RequestInfo } from '../../proto/gen/messages.ts';
import { refusal } from '../errors/switchyard-error.ts';
import { blocksOf, tokensToCompute } from './candidate.ts';
import { recordOf } from './decision-record.ts';
import type { PoolTable, RequestHints } from './fleet-table.ts';
import { type PickedSide, place } from './place.ts';
import type { RoutingQuestion, ViewFacts } from './routing-question.ts';

export interface Place {
  readonly instanceId: string;
  readonly address: string;
}

export interface Chosen extends Place {
  /** Where the request goes on after its first token, with as many blocks. Undefined: it stays. */
  readonly handOff: Place | undefined;
  readonly blocks: number;
  readonly computeTokens: number;
}

export interface RoutingDecision {
  /** Undefined: refused. */
  readonly chosen: Chosen | undefined;
  readonly refusal: Refusal | null;
  readonly record: DecisionRecord;
}

/** Hears of each side of the decision as it is made. */
export interface DecisionNotes {
  /** `dropped`: which filter dropped how many, for people. */
  filtered(side: { readonly candidates: number; readonly kept: number; readonly dropped: string }): void;
  /** `top`: the best five with their scores, for people. */
  picked(side: { readonly instanceId: string; readonly reason: string; readonly score: number; readonly top: string }): void;
}

/** `recorded`: the facts of the whole pool, when `table` holds a part of it. */
export function decide(
  table: PoolTable,
  hints: RequestHints,
  view: ViewFacts,
  question: RoutingQuestion,
  notes?: DecisionNotes,
  recorded?: PoolFacts,
): RoutingDecision {
  const placed = place({ table, hints, question, notes, recorded });
  const { opened, handOff } = placed;
  const [reason, refused] = opened ? [opened.picked.reason, null] : refusedBecause(placed.facts, question.request);
  return {
    chosen: opened && chosenOf(table, hints, opened, handOff),
    refusal: refused,
    record: recordOf({ table, view, question, placed, reason }),
  };
}

function chosenOf(table: PoolTable, hints: RequestHints, { filtering, picked }: PickedSide, handOff: PickedSide | undefined): Chosen {
  const { row } = picked;
  const at = (one: number) => ({ instanceId: table.ids[one]!, address: table.addresses[one]! });
  return {
    ...at(row),
    handOff: handOff && at(handOff.picked.row),
    blocks: blocksOf(filtering.tokens, table.numbers.blockTokens[row]!),
    computeTokens: tokensToCompute(filtering.tokens, hints.prefixBlocks.get(row) ?? 0),
  };
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
