// What it means that a server answers with something else than tokens: the client's fault, the server's, or too much to do.
import type { Code } from '../../../core/errors/codes.ts';
import { refusal } from '../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../proto/gen/messages.ts';
import { asFields, parsed } from './chunk.ts';

type Headers = Readonly<Record<string, string | undefined>>;

const longestMessage = 2_000;
const overlong = /context (length|size|window)|max_model_len|maximum (context|model|sequence)|exceed_context|too many tokens|longer than the model/i;

/** Of an answer whose status is not 200. `server` is its address, for what only an operator can mend. */
export function refusalOfAnswer(server: string, status: number, headers: Headers, body: string): Refusal {
  const said = messageIn(body) || `status ${status}`;
  const retryAfterMs = retryAfter(headers);
  if (status === 429) return refusal('engine_overloaded', `${server}: ${said}`, retryAfterMs);
  if (status === 503) return refusal(retryAfterMs > 0 ? 'engine_overloaded' : 'engine_unavailable', `${server}: ${said}`, retryAfterMs);
  if (status === 401 || status === 403)
    return refusal('engine_error', `${server} does not take our API key (${status}): see apiKeyEnv of the pool's openai section. It says: ${said}`);
  if (status === 404) return refusal('engine_error', `${server} does not know the model, or has no such path (404). It says: ${said}`);
  if (status === 413) return refusal('body_too_large', said);
  if (status === 408 || status === 409 || status === 425) return refusal('engine_error', `${server} answers ${status}: ${said}`, retryAfterMs);
  if (status >= 400 && status < 500) return refusal(clientFault(said, body), said);
  return refusal('engine_error', `${server} answers ${status}: ${said}`, retryAfterMs);
}

/** Of an error that comes in the middle of a stream, or in place of an answer with status 200. */
export function refusalOfError(server: string, error: unknown): Refusal {
  const fields = asFields(error);
  const code = Number(fields?.code);
  const status = Number.isInteger(code) && code >= 400 && code <= 599 ? code : 500;
  return refusalOfAnswer(server, status, {}, JSON.stringify({ error: fields ?? { message: String(error) } }));
}

function clientFault(said: string, body: string): Code {
  return overlong.test(said) || overlong.test(body.slice(0, longestMessage)) ? 'context_length_exceeded' : 'invalid_request';
}

/** OpenAI's shape, FastAPI's, and a plain text. */
function messageIn(body: string): string {
  const fields = parsed(body);
  const error = asFields(fields?.error);
  const found = error?.message ?? fields?.message ?? fields?.error ?? fields?.detail;
  const text = found === undefined ? body.trim() : typeof found === 'string' ? found : JSON.stringify(found);
  return text.slice(0, longestMessage);
}

function retryAfter(headers: Headers): number {
  const ms = Number(headers['retry-after-ms']);
  if (ms > 0) return ms;
  const seconds = Number(headers['retry-after']);
  return seconds > 0 ? seconds * 1000 : 0;
}
