// Where a request goes, of all rows of its pool's table. In a pool with prefill instances a long prompt gets two of them: a
// prefill instance computes it, a decode instance goes on after the first token. Pure, like everything that decides.
import type { PoolFacts } from '../../proto/gen/messages.ts';
import { tokensToCompute } from './candidate.ts';
import { type FilterQuestion, filterNames, filterQuestion } from './filters.ts';
import type { PoolTable } from './fleet-table.ts';
import { type Placing, type Side, takeSide } from './side.ts';

/**
 * What the roles of a pool's instances made of a request. `pair`: a prefill instance computes the prompt, a decode instance goes
 * on. `short`: so little is to be computed that the decode instance does it. `no_prefill`: no prefill instance can take it and
 * hand it over, so the decode instance does it. `no_decode`: no decode instance can take it, so a prefill instance keeps it.
 * Empty: the pool has no prefill instances.
 */
export type RolesReason = '' | 'pair' | 'short' | 'no_prefill' | 'no_decode';

/** A side that has somebody who can take the request. */
export type PickedSide = Side & { readonly picked: NonNullable<Side['picked']> };

export interface Placed {
  readonly filtering: FilterQuestion;
  /** Those that were looked at. Of two the second has the prefill instances. */
  readonly sides: readonly Side[];
  readonly facts: PoolFacts;
  /** Where the stream is opened. Undefined: nowhere. */
  readonly opened: PickedSide | undefined;
  /** Where it goes on after its first token. Undefined: it stays. */
  readonly handOff: PickedSide | undefined;
  readonly rolesReason: RolesReason;
}

export function place(placing: Placing): Placed {
  const { table, hints, question, recorded } = placing;
  const { request, profile } = question;
  const filtering = filterQuestion(request, profile, table, recorded);
  function placed(sides: readonly Side[], opened: PickedSide | undefined, rolesReason: RolesReason, handOff?: PickedSide): Placed {
    return { filtering, sides, facts: recorded ?? factsOf(table, filtering, sides), opened, handOff, rolesReason };
  }
  if (!table.hasPrefill) {
    const all = takeSide(placing, filtering, 0);
    return placed([all], taking(all), '');
  }
  const decode = takeSide(placing, { ...filtering, side: 'decode' }, 0);
  const onDecode = taking(decode);
  const row = onDecode?.picked.row;
  if (row !== undefined && tokensToCompute(filtering.tokens, hints.prefixBlocks.get(row) ?? 0) < profile.disaggregateFromTokens)
    return placed([decode], onDecode, 'short');
  const handsTo = row === undefined ? undefined : table.kvFits[row]!;
  const prefill = takeSide(placing, { ...filtering, side: 'prefill', handsTo }, decode.kept.length);
  const onPrefill = taking(prefill);
  const both = [decode, prefill];
  if (!onDecode) return placed(both, onPrefill, 'no_decode');
  return onPrefill ? placed(both, onPrefill, 'pair', onDecode) : placed(both, onDecode, 'no_prefill');
}

function taking(side: Side): PickedSide | undefined {
  return side.picked && { ...side, picked: side.picked };
}

function factsOf(table: PoolTable, filtering: FilterQuestion, [first, prefill]: readonly Side[]): PoolFacts {
  const counts = new Array<number>(filterNames.length + 1).fill(0);
  for (let row = 0; row < table.size; row++) counts[table.scratch.verdicts[row]!]! += 1;
  return {
    suspectsAllowed: filtering.suspectsAllowed,
    avoidedAllowed: filtering.avoidedAllowed,
    leastSequences: first?.scoring.leastSequences ?? 0,
    mostSequences: first?.scoring.mostSequences ?? 0,
    dropped: filterNames.flatMap((filter, index) => (counts[index + 1]! > 0 ? [{ filter, candidates: counts[index + 1]! }] : [])),
    leastPrefillSequences: prefill?.scoring.leastSequences ?? 0,
    mostPrefillSequences: prefill?.scoring.mostSequences ?? 0,
  };
}
