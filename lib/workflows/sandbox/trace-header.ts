// The Temporal header that carries a W3C trace context.
import { defaultPayloadConverter, type Headers } from '@temporalio/common';

export const traceHeader = 'traceparent';

export function traceHeaders(traceparent: string | undefined): Headers {
  return traceparent ? { [traceHeader]: defaultPayloadConverter.toPayload(traceparent) } : {};
}

export function traceOf(headers: Headers): string | undefined {
  const payload = headers[traceHeader];
  return payload ? defaultPayloadConverter.fromPayload<string>(payload) : undefined;
}
