// Headers of requests and responses beyond the body: who asks, with what wishes, and what the client is told.
import type { LimitState } from '../../proto/gen/messages.ts';

type HeadersIn = Readonly<Record<string, string | undefined>>;

export interface Wishes {
  /** Name of an objective; empty: none. */
  readonly objective: string;
  readonly fairnessId: string;
  readonly ttftSloMs: number;
  readonly tpotSloMs: number;
  readonly sessionId: string;
}

const longestName = 128;
const defaultFairnessId = 'default-flow';

/** Both spellings of every header are read; a value that makes no sense counts as not given. */
export function readWishes(headers: HeadersIn): Wishes {
  return {
    objective: name(headers['x-llm-d-inference-objective'] ?? headers['x-gateway-inference-objective']),
    fairnessId: name(headers['x-llm-d-inference-fairness-id'] ?? headers['x-gateway-inference-fairness-id']) || defaultFairnessId,
    ttftSloMs: milliseconds(headers['x-llm-d-slo-ttft-ms'] ?? headers['x-slo-ttft-ms']),
    tpotSloMs: milliseconds(headers['x-llm-d-slo-tpot-ms'] ?? headers['x-slo-tpot-ms']),
    sessionId: name(headers['x-session-id']),
  };
}

/** The client's own request id, when it can safely be sent back. */
export function clientRequestId(headers: HeadersIn): string | undefined {
  const given = headers['x-request-id'];
  return given !== undefined && /^[\x21-\x7e]{1,128}$/.test(given) ? given : undefined;
}

/** The secret of an `authorization: Bearer` header, or of `x-api-key`. */
export function presentedKey(headers: HeadersIn): string | undefined {
  const bearer = /^bearer +(\S+)$/i.exec(headers.authorization ?? '');
  return bearer?.[1] ?? headers['x-api-key'];
}

/** A W3C trace context to continue; anything else starts a trace of its own. */
export function clientTrace(headers: HeadersIn): { traceparent: string } | undefined {
  const given = headers.traceparent?.trim();
  if (!given || !/^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}/.test(given)) return undefined;
  return given.startsWith('ff') || given.includes('-00000000000000000000000000000000-') ? undefined : { traceparent: given };
}

/** `x-ratelimit-*`. Limits that are not set are left out. */
export function limitHeaders(limits: LimitState | null | undefined): Record<string, string> {
  const headers: Record<string, string> = {};
  if (!limits) return headers;
  if (limits.limitRequests > 0) {
    headers['x-ratelimit-limit-requests'] = String(limits.limitRequests);
    headers['x-ratelimit-remaining-requests'] = String(Math.max(0, Math.floor(limits.remainingRequests)));
    headers['x-ratelimit-reset-requests'] = duration(limits.resetRequestsMs);
  }
  if (limits.limitTokens > 0) {
    headers['x-ratelimit-limit-tokens'] = String(limits.limitTokens);
    headers['x-ratelimit-remaining-tokens'] = String(Math.max(0, Math.floor(limits.remainingTokens)));
    headers['x-ratelimit-reset-tokens'] = duration(limits.resetTokensMs);
  }
  return headers;
}

/** As OpenAI writes it: 20ms, 1.5s, 6m0s. */
export function duration(ms: number): string {
  const whole = Math.max(0, Math.ceil(ms));
  if (whole < 1000) return `${whole}ms`;
  if (whole < 60_000) return `${whole / 1000}s`;
  return `${Math.floor(whole / 60_000)}m${(whole % 60_000) / 1000}s`;
}

function name(value: string | undefined): string {
  return value !== undefined && value.length <= longestName ? value.trim() : '';
}

function milliseconds(value: string | undefined): number {
  const ms = Number(value);
  return Number.isFinite(ms) && ms > 0 ? ms : 0;
}
