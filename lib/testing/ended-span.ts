// A span that has ended, as telemetry keeps it.
import type { SpanFacts } from '../telemetry/recorded-span.ts';
import { TracePlace } from '../telemetry/trace-place.ts';

export interface GivenSpan extends Partial<Omit<SpanFacts, 'context' | 'attributes'>> {
  readonly traceId: string;
  readonly spanId?: string;
}

export function endedSpan({ traceId, spanId = '1', given = [], ...rest }: GivenSpan): SpanFacts {
  return {
    context: new TracePlace(traceId, spanId, false),
    parent: undefined,
    name: 'span',
    kind: 'internal',
    links: [],
    startMs: 1,
    endMs: 2,
    failed: false,
    failure: undefined,
    given,
    attributes: Object.assign({}, ...given),
    events: [],
    droppedEvents: 0,
    ...rest,
  };
}
