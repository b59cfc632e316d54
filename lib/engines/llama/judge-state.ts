// The last word on a state that has arrived, before native code sees it: it is of an engine like this one, as it was sent, whole,
// and of the very tokens that the sequence has.
import { refusal } from '../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../proto/gen/messages.ts';
import { checkBlob, checkEnvelope, type EngineHere, type Envelope } from './envelope.ts';
import { readStateFile, type StateFile, shapeDifference } from './state-file/state-file.ts';

export interface ExpectedState {
  readonly here: EngineHere;
  readonly vocabularySize: number;
  /** Prompt and output so far. The newest token is never in a state: it is computed next. */
  readonly history: readonly number[];
}

/** Refused: `transfer_failed`, `kv_too_large`, `corrupt_kv`. */
export function judgeState(blob: Uint8Array, envelope: Envelope, { here, vocabularySize, history }: ExpectedState): StateFile | Refusal {
  const { facts, contextTokens } = here;
  const wrong = checkEnvelope(envelope, here) ?? checkBlob(envelope, blob);
  if (wrong) return wrong;
  if (history.length >= contextTokens)
    return refusal('kv_too_large', `the sequence has ${history.length} tokens, the context here holds ${contextTokens}`);
  const state = readStateFile(blob, { vocabularySize, contextTokens });
  if ('code' in state) return state;
  const difference = shapeDifference(state.shape, facts.shape);
  if (difference) return refusal('corrupt_kv', `the saved state is not of the shape that it was said to be: ${difference}`);
  const { tokenIds } = state;
  if (tokenIds.length !== envelope.tokenCount)
    return refusal('corrupt_kv', `the saved state has ${tokenIds.length} tokens, not ${envelope.tokenCount}`);
  if (tokenIds.length >= history.length || tokenIds.some((id, index) => id !== history[index]))
    return refusal('corrupt_kv', 'the saved state is of other tokens than the sequence');
  return state;
}
