// Whether a request that has begun can be continued honestly from its log by an engine.
import { type ContinuationNeed, unmetNeed } from '../openai/continuation.ts';
import type { RequestState } from './request-state.ts';

/** What an engine with these capabilities would have to restore and cannot. Undefined: it may go on; so may any when nothing has begun. */
export function cannotContinue({ log, facts }: RequestState, capabilities: readonly string[]): ContinuationNeed | undefined {
  if (log.length === 0) return undefined;
  return unmetNeed(log.exact ? facts.continuationNeeds : [...facts.continuationNeeds, 'text'], capabilities);
}
