// What a request at a server is when it moves: the sequence, and in its engine state what only adapters of this kind understand.
import { refusal } from '../../../../core/errors/switchyard-error.ts';
import { type Carry, type Refusal, SequenceState } from '../../../../proto/gen/messages.ts';
import type { EngineEvent, GenerateRequest } from '../../../ports/engines.ts';
import { asFields, parsed } from '../chunk.ts';
import type { Fields } from '../client.ts';

/** A stream that was stopped at a boundary of its tokens. */
export interface Stopped {
  readonly request: GenerateRequest;
  /** Undefined: the server has not said them; it can be asked. */
  readonly promptIds: readonly number[] | undefined;
  /** Of the whole request. */
  readonly outputIds: readonly number[];
  readonly carry: Carry;
  readonly cachedTokens: number;
  /** The last events that were told: the gateway may not have got them. */
  readonly told: readonly EngineEvent[];
}

interface EngineState {
  readonly given: Fields;
  readonly carry: Carry;
  readonly told: readonly { readonly index: number; readonly tokenIds: readonly number[]; readonly text: string; readonly data: string }[];
}

export interface Moved {
  /** As if the gateway had opened it with all that was produced. */
  readonly request: GenerateRequest;
  readonly promptIds: readonly number[];
  readonly given: Fields;
  readonly told: readonly Pick<EngineEvent, 'index' | 'tokenIds' | 'text' | 'data'>[];
}

export function encodeMoved(stopped: Stopped, promptIds: readonly number[], model: string, given: Fields): Uint8Array {
  const { request, outputIds, carry, cachedTokens, told } = stopped;
  const engineState: EngineState = {
    given,
    carry,
    told: told.map(({ index, tokenIds, text, data }) => ({ index, tokenIds, text, data: Buffer.from(data).toString('base64') })),
  };
  return SequenceState.encode({
    ...request,
    model,
    promptTokenIds: promptIds,
    outputTokenIds: outputIds,
    outputText: '',
    cachedTokens,
    promptTokens: promptIds.length,
    endReason: 'length',
    engineState: Buffer.from(JSON.stringify(engineState)),
  });
}

/** Refused: `invalid_request`. */
export function decodeMoved(bytes: Uint8Array, expected: { readonly requestId: string; readonly model: string }): Moved | Refusal {
  let state: SequenceState;
  try {
    state = SequenceState.decode(bytes);
  } catch {
    return refusal('invalid_request', 'the state of the sequence cannot be read');
  }
  const { requestId, model, promptTokenIds, outputTokenIds } = state;
  if (requestId !== expected.requestId) return refusal('invalid_request', `the reservation is for ${expected.requestId}, the state of ${requestId}`);
  if (model !== expected.model) return refusal('invalid_request', `a sequence of ${model} cannot go on with ${expected.model}`);
  const engineState = parsed(Buffer.from(state.engineState).toString()) as unknown as EngineState | undefined;
  const given = asFields(engineState?.given);
  if (!engineState || !given || !asFields(engineState.carry) || !Array.isArray(engineState.told) || promptTokenIds.length === 0)
    return refusal('invalid_request', 'the state of the sequence is not of a server of this kind');
  return {
    request: {
      ...state,
      endpoint: state.endpoint as GenerateRequest['endpoint'],
      epoch: 0,
      resumeTokenIds: outputTokenIds,
      resumeText: '',
      nextIndex: outputTokenIds.length,
      reservationId: '',
      keyId: '',
      sloClass: 'standard',
      carry: engineState.carry,
    },
    promptIds: promptTokenIds,
    given,
    told: engineState.told.map(({ data, ...event }) => ({ ...event, data: Buffer.from(data, 'base64') })),
  };
}
