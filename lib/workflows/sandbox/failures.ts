// The boundary between Temporal's failures and ours: inside a workflow everything thrown is a SwitchyardError, and what
// leaves one is what Temporal understands. The code travels as the failure's type. Used in the sandbox, by the activity
// host and by the client, so this imports nothing but @temporalio/common.
import { ActivityFailure, ApplicationFailure, CancelledFailure, ChildWorkflowFailure, TimeoutFailure } from '@temporalio/common';
import { isCode } from '../../../core/errors/codes.ts';
import { SwitchyardError } from '../../../core/errors/switchyard-error.ts';

/** What an activity or child threw, as a body sees it. */
export function fromTemporal(thrown: unknown): SwitchyardError {
  if (thrown instanceof SwitchyardError) return thrown;
  if (thrown instanceof ActivityFailure || thrown instanceof ChildWorkflowFailure) {
    if (thrown.cause) return fromTemporal(thrown.cause);
    return new SwitchyardError('internal', thrown.message, { cause: thrown });
  }
  if (thrown instanceof CancelledFailure) return new SwitchyardError('cancelled', thrown.message, { cause: thrown });
  if (thrown instanceof TimeoutFailure) return new SwitchyardError('timeout', thrown.message, { cause: thrown });
  if (thrown instanceof ApplicationFailure) {
    const code = isCode(thrown.type) ? thrown.type : 'internal';
    return new SwitchyardError(code, thrown.message, { cause: thrown });
  }
  return new SwitchyardError('internal', thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown });
}

/**
 * What our code threw, as Temporal should see it: retried when retryable, final otherwise. Anything that is not ours is
 * `internal`, which is final: a bug does not go away by trying again.
 */
export function toTemporal(thrown: unknown): Error {
  if (thrown instanceof CancelledFailure) return thrown;
  const error = fromTemporal(thrown);
  if (error.code === 'cancelled') return new CancelledFailure(error.message);
  return ApplicationFailure.create({ message: error.message, type: error.code, nonRetryable: !error.retryable, cause: error });
}
