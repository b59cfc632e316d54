// Where a span hangs: its trace, itself, and whether the trace is exported. Made here, or read from a traceparent.
import { AsyncLocalStorage } from 'node:async_hooks';
import type { TraceContext } from '../ports/telemetry.ts';
import { systemRng } from '../rng/system-rng.ts';

const traceparentPattern = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})/;
const sampledFlag = 1;

export class TracePlace implements TraceContext {
  readonly traceId: string;
  readonly spanId: string;
  readonly sampled: boolean;
  /** From another process. */
  readonly remote: boolean;

  constructor(traceId: string, spanId: string, sampled: boolean, remote = false) {
    this.traceId = traceId;
    this.spanId = spanId;
    this.sampled = sampled;
    this.remote = remote;
  }

  /** As W3C Trace Context writes it. */
  get traceparent(): string {
    return `00-${this.traceId}-${this.spanId}-${this.sampled ? '01' : '00'}`;
  }
}

/** Undefined for anything that is not a valid traceparent: it may come from a client. */
export function placeOf(context: TraceContext | undefined): TracePlace | undefined {
  if (context === undefined || context instanceof TracePlace) return context;
  const match = traceparentPattern.exec(context.traceparent);
  return match ? new TracePlace(match[1]!, match[2]!, (Number.parseInt(match[3]!, 16) & sampledFlag) !== 0, true) : undefined;
}

/** The active span of the running call, over all services of the process. */
export const activePlace = new AsyncLocalStorage<TracePlace | undefined>();

const words = new Uint32Array(4);
const bytes = Buffer.from(words.buffer);

/** So many random words of 32 bits in hexadecimal, as one flat string: spans keep their ids for as long as they are kept. */
function digits(count: number): string {
  for (let index = 0; index < count; index++) words[index] = systemRng.seed();
  return bytes.toString('hex', 0, 4 * count);
}

export const newTraceId = (): string => digits(4);
export const newSpanId = (): string => digits(2);
