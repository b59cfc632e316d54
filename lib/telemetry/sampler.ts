// Which traces are exported: the standard values of OTEL_TRACES_SAMPLER. The ones that need a server of their own
// (jaeger_remote, xray) are not offered. Traces that are left out are still recorded, for the ring and because a trace may
// turn out to be worth keeping (kept-traces.ts); only with `always_off` in the name they are not.
import { ROOT_CONTEXT } from '@opentelemetry/api';
import { SamplingDecision, TraceIdRatioBasedSampler } from '@opentelemetry/sdk-trace';
import type { TracePlace } from './trace-place.ts';

export const samplerNames = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const;
export type SamplerName = (typeof samplerNames)[number];

/** `recorded`: in the ring only. */
export type Sampling = 'sampled' | 'recorded' | 'off';
export type Sampler = (traceId: string, parent: TracePlace | undefined) => Sampling;

/** `ratio` counts for the two that have it in their name. */
export function createSampler(name: SamplerName, ratio: number): Sampler {
  const byParent = name.startsWith('parentbased_');
  const root = rootSampler(name, ratio);
  const leftOut: Sampling = name.endsWith('always_off') ? 'off' : 'recorded';
  return (traceId, parent) => ((byParent && parent ? parent.sampled : root(traceId)) ? 'sampled' : leftOut);
}

function rootSampler(name: SamplerName, ratio: number): (traceId: string) => boolean {
  if (name.endsWith('always_on')) return () => true;
  if (name.endsWith('always_off')) return () => false;
  if (ratio >= 1) return () => true;
  // The standard's own arithmetic, so that services in other languages decide alike.
  const standard = new TraceIdRatioBasedSampler(ratio);
  return (traceId) => standard.shouldSample(ROOT_CONTEXT, traceId).decision === SamplingDecision.RECORD_AND_SAMPLED;
}
