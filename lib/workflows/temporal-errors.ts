// What the Temporal client throws, as our errors. The only place that knows its error classes.
import {
  isGrpcServiceError,
  QueryNotRegisteredError,
  ServiceError,
  WorkflowFailedError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { fromTemporal } from './sandbox/failures.ts';

const notFound = 5;

/** @param what was attempted, on which id */
export function fromClient(thrown: unknown, what: string): SwitchyardError {
  if (thrown instanceof SwitchyardError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  if (thrown instanceof WorkflowNotFoundError)
    return new SwitchyardError('workflow_not_found', `${what}: no such workflow, or it has ended`, { cause: thrown });
  if (thrown instanceof WorkflowFailedError) {
    const cause = thrown.cause ? fromTemporal(thrown.cause) : undefined;
    return new SwitchyardError('workflow_failed', `${what}: ${cause?.message ?? message}`, { cause: thrown });
  }
  if (thrown instanceof WorkflowUpdateFailedError)
    return thrown.cause ? fromTemporal(thrown.cause) : new SwitchyardError('workflow_failed', `${what}: ${message}`, { cause: thrown });
  if (thrown instanceof QueryNotRegisteredError) return new SwitchyardError('not_found', `${what}: ${message}`, { cause: thrown });
  if (thrown instanceof WorkflowUpdateRPCTimeoutOrCancelledError)
    return new SwitchyardError('workflows_unavailable', `${what}: no worker answered in time`, { cause: thrown });
  const grpc = thrown instanceof ServiceError ? thrown.cause : thrown;
  if (!isGrpcServiceError(grpc)) return new SwitchyardError('workflows_unavailable', `${what}: ${message}`, { cause: thrown });
  if (grpc.code === notFound) return new SwitchyardError('workflow_not_found', `${what}: no such workflow`, { cause: thrown });
  return new SwitchyardError('workflows_unavailable', `${what}: ${grpc.message}`, { cause: thrown });
}
