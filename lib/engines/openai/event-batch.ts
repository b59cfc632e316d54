// Gathers what the streams of a server say within one turn, so that it travels in one frame: each request at most once in a
// batch, with all that it said in that turn as one event.
import type { EngineEvent } from '../../ports/engines.ts';

/** In the order in which they were said; what cannot be told together is told one after the other. */
export function batchesOf(events: readonly EngineEvent[]): EngineEvent[][] {
  const batches: EngineEvent[][] = [];
  /** By request and epoch: the batch that has its newest event, and the place in it. */
  const newest = new Map<string, { batch: number; place: number }>();
  for (const event of events) {
    const key = `${event.requestId}@${event.epoch}`;
    const known = newest.get(key);
    const before = known && batches[known.batch]![known.place]!;
    if (known && before && canJoin(before, event)) {
      batches[known.batch]![known.place] = joinedEvents(before, event);
      continue;
    }
    const batch = known ? known.batch + 1 : 0;
    batches[batch] ??= [];
    newest.set(key, { batch, place: batches[batch].push(event) - 1 });
  }
  return batches;
}

/** An error takes the place of tokens, and tokens are not counted like pieces. */
function canJoin(before: EngineEvent, after: EngineEvent): boolean {
  if (before.finishReason !== '' || before.error || after.error) return false;
  const isText = (event: EngineEvent) => (event.pieces ? 'pieces' : event.tokenIds.length > 0 ? 'tokens' : 'nothing');
  return isText(before) === isText(after) || isText(after) === 'nothing';
}

function joinedEvents(before: EngineEvent, after: EngineEvent): EngineEvent {
  const carry = after.carry ?? before.carry;
  return {
    ...after,
    index: before.index,
    tokenIds: [...before.tokenIds, ...after.tokenIds],
    ...(before.pieces ? { pieces: { count: before.pieces.count + (after.pieces?.count ?? 0) } } : {}),
    text: before.text + after.text,
    data: before.data.length === 0 ? after.data : after.data.length === 0 ? before.data : Buffer.concat([before.data, after.data]),
    ...(carry ? { carry } : {}),
  };
}
