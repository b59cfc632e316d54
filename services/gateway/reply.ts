// Answers that need no request actor: errors at the door, probes, lists.
import { type ClientError, errorBody, errorHeaders, errorStatus } from '../../core/openai/error-body.ts';
import type { HttpResponse } from '../../lib/ports/http.ts';

type Headers = Readonly<Record<string, string>>;

export function sendError(response: HttpResponse, headers: Headers, error: ClientError): void {
  if (response.headSent) return;
  response.head(errorStatus(error.code), { ...headers, ...errorHeaders(error) });
  response.end(errorBody(error));
}

export function sendJson(response: HttpResponse, headers: Headers, status: number, body: unknown): void {
  response.head(status, { ...headers, 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
