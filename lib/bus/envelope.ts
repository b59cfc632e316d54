// What travels with a message besides its own fields: the trace, and failures of handlers, which have no message, in headers.
import { isCode } from '../../core/errors/codes.ts';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { Meta } from '../../proto/gen/messages.ts';
import type { TraceContext } from '../ports/telemetry.ts';
import { unescaped } from './subject.ts';
import type { Headers } from './wire.ts';

const codeHeader = 'Switchyard-Error-Code';
const messageHeader = 'Switchyard-Error-Message';
const retryAfterHeader = 'Switchyard-Retry-After-Ms';
const senderHeader = 'Switchyard-Sender';
/** Longer messages are cut. */
const maxErrorCharacters = 1000;

/** Where the handler's spans hang: in the message itself, because headers cost the carrier and both sides more than the message. */
export function traceOf({ traceparent }: Meta): TraceContext | undefined {
  return traceparent === '' ? undefined : { traceparent };
}

/** Anything thrown at `sender`, as headers. Percent-encoded: header values may hold neither line breaks nor other than ASCII. */
export function failureHeaders(thrown: unknown, sender: string): Headers {
  const known = thrown instanceof SwitchyardError;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return {
    [codeHeader]: known ? thrown.code : 'internal',
    [messageHeader]: encodeURIComponent(message.slice(0, maxErrorCharacters).toWellFormed()),
    [retryAfterHeader]: String(known ? thrown.retryAfterMs : 0),
    [senderHeader]: encodeURIComponent(sender),
  };
}

/** Who sent a failure: it has no envelope. */
export function failureSender(headers: Headers | undefined): string {
  return unescaped(headers?.[senderHeader] ?? '');
}

/** The failure that an answer carries, if it does. A code from a newer version becomes `internal`. */
export function failureOf(headers: Headers | undefined): SwitchyardError | undefined {
  const code = headers?.[codeHeader];
  if (code === undefined) return undefined;
  const message = unescaped(headers?.[messageHeader] ?? '');
  const retryAfterMs = Number(headers?.[retryAfterHeader] ?? 0);
  return new SwitchyardError(isCode(code) ? code : 'internal', message, {
    retryAfterMs: Number.isFinite(retryAfterMs) ? Math.max(0, retryAfterMs) : 0,
  });
}
