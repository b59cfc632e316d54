// What the status means that an engine answers a request with instead of tokens.
import type { Refusal } from '../../proto/gen/messages.ts';
import { refusal } from '../errors/switchyard-error.ts';

/** @param retryAfterMs as the engine said it; 0: it said nothing */
export function refusalOfStatus(status: number, retryAfterMs: number): Refusal {
  if (status === 429) return refusal('engine_overloaded', 'the engine answers 429', retryAfterMs);
  if (status === 503) return refusal('engine_unavailable', 'the engine answers 503', retryAfterMs);
  return refusal('engine_error', `the engine answers ${status}`, retryAfterMs);
}
