// The event that says that a stream could not be opened.
import type { EngineEvent } from '../../lib/ports/engines.ts';
import type { OpenStream, Refusal } from '../../proto/gen/messages.ts';

const noBytes = new Uint8Array(0);

export function cannotOpen({ requestId, epoch, nextIndex }: OpenStream, error: Refusal): EngineEvent {
  return { requestId, epoch, index: nextIndex, tokenIds: [], text: '', data: noBytes, finishReason: '', finalBody: noBytes, error };
}
