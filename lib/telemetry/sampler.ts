// Which traces are exported: the standard values of OTEL_TRACES_SAMPLER. The ones that need a server of their own
// (jaeger_remote, xray) are not offered. Traces that are left out are still recorded, for the ring and because a trace may
// turn out to be worth keeping (kept-traces.ts); only with `always_off` in the name they are not.
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  ParentBasedSampler,
  type Sampler,
  SamplingDecision,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace';

export const samplerNames = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const;
export type SamplerName = (typeof samplerNames)[number];

/** `ratio` counts for the two that have it in their name. */
export function createSampler(name: SamplerName, ratio: number): Sampler {
  const root = rootSampler(name, ratio);
  const standard = name.startsWith('parentbased_') ? new ParentBasedSampler({ root }) : root;
  return name.endsWith('always_off') ? standard : recordingAll(standard);
}

function recordingAll(sampler: Sampler): Sampler {
  return {
    shouldSample(...question) {
      const answer = sampler.shouldSample(...question);
      return answer.decision === SamplingDecision.NOT_RECORD ? { ...answer, decision: SamplingDecision.RECORD } : answer;
    },
    toString: () => sampler.toString(),
  };
}

function rootSampler(name: SamplerName, ratio: number): Sampler {
  if (name.endsWith('always_on')) return new AlwaysOnSampler();
  if (name.endsWith('always_off')) return new AlwaysOffSampler();
  return new TraceIdRatioBasedSampler(ratio);
}
