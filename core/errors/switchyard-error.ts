// Failures of the outside world. An expected "no" is a Refusal value instead (proto/switchyard/common).
import type { Refusal } from '../../proto/gen/messages.ts';
import { type Code, codes, isCode } from './codes.ts';

export class SwitchyardError extends Error {
  readonly code: Code;
  readonly retryable: boolean;
  readonly retryAfterMs: number;

  constructor(code: Code, message: string, options: { cause?: unknown; retryAfterMs?: number } = {}) {
    super(message, { cause: options.cause });
    this.name = 'SwitchyardError';
    this.code = code;
    this.retryable = codes[code].retryable;
    this.retryAfterMs = options.retryAfterMs ?? 0;
  }
}

/** A refusal as a value; `retryable` follows from the code. */
export function refusal(code: Code, message: string, retryAfterMs = 0): Refusal {
  return { code, message, retryable: codes[code].retryable, retryAfterMs };
}

/** Any thrown thing as a refusal, for boundaries that answer with values. */
export function toRefusal(thrown: unknown): Refusal {
  if (thrown instanceof SwitchyardError) return refusal(thrown.code, thrown.message, thrown.retryAfterMs);
  return refusal('internal', thrown instanceof Error ? thrown.message : String(thrown));
}

/** A refusal received from elsewhere as an error; unknown codes become `internal`. */
export function fromRefusal(received: Refusal): SwitchyardError {
  const code = isCode(received.code) ? received.code : 'internal';
  return new SwitchyardError(code, received.message, { retryAfterMs: received.retryAfterMs });
}
