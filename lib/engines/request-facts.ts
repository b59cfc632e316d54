// What a sequence remembers of the request that it answers, and takes along when it moves.
import type { SequenceState } from '../../proto/gen/messages.ts';
import type { GenerateRequest } from '../ports/engines.ts';

type RequestFacts = Pick<
  SequenceState,
  | 'requestId'
  | 'model'
  | 'endpoint'
  | 'body'
  | 'priority'
  | 'arrivalMs'
  | 'createdS'
  | 'clientStreams'
  | 'includeUsage'
  | 'gatewayId'
  | 'traceparent'
  | 'serviceTier'
>;

/** `model`: the name that answers carry. */
export function requestFacts(model: string, request: GenerateRequest): RequestFacts {
  const { requestId, endpoint, body, priority, arrivalMs, createdS, clientStreams, includeUsage, gatewayId, traceparent, serviceTier } = request;
  return { requestId, model, endpoint, body, priority, arrivalMs, createdS, clientStreams, includeUsage, gatewayId, traceparent, serviceTier };
}
