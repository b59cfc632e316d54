// Sequences of an engine by request and epoch, and why one that is asked for is not there.
import { refusal } from '../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../proto/gen/messages.ts';

export function keyOf(requestId: string, epoch: number): string {
  return `${requestId}@${epoch}`;
}

interface KnownSequence {
  readonly epoch: number;
  readonly facts: { readonly requestId: string };
}

interface Sequences<S extends KnownSequence> {
  /** By `keyOf`. */
  readonly generations: Pick<ReadonlyMap<string, S>, 'get' | 'values'>;
  whyEnded(key: string): 'sequence_finished' | 'cancelled' | undefined;
}

/** Refused: `sequence_finished`, `cancelled`, `stale_epoch`, `unknown_request`. */
export function findSequence<S extends KnownSequence>(engine: Sequences<S>, requestId: string, epoch: number): S | Refusal {
  const key = keyOf(requestId, epoch);
  const found = engine.generations.get(key);
  if (found) return found;
  const why = engine.whyEnded(key);
  if (why) return refusal(why, `${requestId} has ended here`);
  for (const other of engine.generations.values()) {
    if (other.facts.requestId === requestId) return refusal('stale_epoch', `${requestId} is at epoch ${other.epoch} here, not ${epoch}`);
  }
  return refusal('unknown_request', `${requestId} is not on this instance`);
}
