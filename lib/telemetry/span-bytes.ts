// The newest ended spans, as bytes in one piece of memory: docs/decisions/0022-own-spans.md says why not as objects.
import { hashOf } from '../../core/routing/seeded-random.ts';
import { requestIdName } from './attributes.ts';
import type { SpanFacts } from './recorded-span.ts';
import { SpanCodec } from './span-codec.ts';

export interface SpanBytes {
  /** `taken`: `take` is not to return it. The oldest make room; a span of more than a quarter of the memory is not kept. */
  add(span: SpanFacts, taken: boolean): void;
  /** Traces in which a span says that it is about this request. */
  tracesAbout(requestId: string): Set<string>;
  /** The oldest first. */
  ofTraces(traceIds: ReadonlySet<string>): SpanFacts[];
  /** As `ofTraces`, each once. */
  take(traceIds: ReadonlySet<string>): SpanFacts[];
}

export function createSpanBytes({ maxSpans, maxBytes }: { maxSpans: number; maxBytes: number }): SpanBytes {
  const codec = new SpanCodec();
  const memory = Buffer.alloc(maxBytes);
  // By slot: where its bytes are, what its ids hash to, and whether it was taken.
  const starts = new Uint32Array(maxSpans);
  const traces = new Uint32Array(maxSpans);
  const requests = new Uint32Array(maxSpans);
  const taken = new Uint8Array(maxSpans);
  let oldest = 0;
  let count = 0;
  let end = 0;

  function dropWhile(inTheWay: (start: number) => boolean): void {
    while (count > 0 && inTheWay(starts[oldest]!)) {
      oldest = (oldest + 1) % maxSpans;
      count -= 1;
    }
  }

  function placeFor(length: number): number {
    let at = end;
    if (at + length > maxBytes) {
      dropWhile((start) => start >= at);
      at = 0;
    }
    dropWhile((start) => (start >= at && start < at + length) || count === maxSpans);
    return at;
  }

  /** Hashes meet now and then: whoever reads the span looks again. */
  function* slotsOf(hashes: Uint32Array, ids: Iterable<string>): Generator<number> {
    const wanted = new Set(Array.from(ids, hashOf));
    for (let index = 0; index < count; index++) {
      const slot = (oldest + index) % maxSpans;
      if (wanted.has(hashes[slot]!)) yield slot;
    }
  }

  const read = (slot: number): SpanFacts => codec.read(memory, starts[slot]!);

  return {
    add(span, alreadyTaken) {
      const { bytes, length, requestId } = codec.write(span);
      if (length > maxBytes / 4) return;
      const at = placeFor(length);
      bytes.copy(memory, at, 0, length);
      const slot = (oldest + count) % maxSpans;
      starts[slot] = at;
      traces[slot] = hashOf(span.context.traceId);
      requests[slot] = hashOf(requestId);
      taken[slot] = alreadyTaken ? 1 : 0;
      count += 1;
      end = at + length;
    },
    tracesAbout(requestId) {
      const about = Array.from(slotsOf(requests, [requestId]), read).filter((span) => span.attributes[requestIdName] === requestId);
      return new Set(about.map(({ context }) => context.traceId));
    },
    ofTraces(traceIds) {
      return Array.from(slotsOf(traces, traceIds), read).filter(({ context }) => traceIds.has(context.traceId));
    },
    take(traceIds) {
      const found: SpanFacts[] = [];
      for (const slot of slotsOf(traces, traceIds)) {
        const span = taken[slot] === 1 ? undefined : read(slot);
        if (!span || !traceIds.has(span.context.traceId)) continue;
        taken[slot] = 1;
        found.push(span);
      }
      return found;
    },
  };
}
