// Errors as OpenAI's clients know them, and the headers that tell a client whether and when to try again.
import { type Code, type CodeEntry, codes } from '../errors/codes.ts';

export interface ClientError {
  readonly code: Code;
  readonly message: string;
  readonly param?: string | null;
  readonly retryAfterMs?: number;
}

export function errorStatus(code: Code): number {
  return codes[code].http;
}

/** All four keys are always there. */
export function errorBody(error: ClientError): string {
  return JSON.stringify({ error: { message: error.message, type: codes[error.code].type, param: error.param ?? null, code: error.code } });
}

/** The last event of a stream that failed. No `[DONE]` follows. */
export function errorEvent(error: ClientError): string {
  return `data: ${errorBody(error)}\n\n`;
}

/** Why a request never ran, in the words of the Gateway API's inference extension. A closed list. */
const droppedReasons: Partial<Record<Code, string>> = {
  queue_full: 'rejected-saturated',
  all_saturated: 'rejected-saturated',
  engine_overloaded: 'rejected-saturated',
  no_instance: 'rejected-no-endpoints',
  engine_unavailable: 'rejected-no-endpoints',
  no_responders: 'rejected-no-endpoints',
  queue_timeout: 'rejected-ttl-expired',
  client_left: 'rejected-context-cancelled',
  draining: 'rejected-shutting-down',
  shed: 'evicted-priority',
};

const longestRetryAfterMs = 60_000;

/** SDKs obey these: `retry-after` up to a minute, and a plain "do not" where trying again cannot help. */
export function errorHeaders(error: ClientError): Record<string, string> {
  const headers: Record<string, string> = { 'content-type': 'application/json' };
  const entry: CodeEntry = codes[error.code];
  const waitMs = Math.min(longestRetryAfterMs, Math.ceil(error.retryAfterMs ?? 0));
  if (entry.retryable) headers['x-should-retry'] = 'true';
  else if (entry.http >= 500 || entry.http === 429 || entry.http === 409) headers['x-should-retry'] = 'false';
  if (entry.retryable && waitMs > 0) {
    headers['retry-after-ms'] = String(waitMs);
    headers['retry-after'] = String(Math.ceil(waitMs / 1000));
  }
  const dropped = droppedReasons[error.code];
  if (dropped) headers['x-llm-d-request-dropped-reason'] = dropped;
  return headers;
}
