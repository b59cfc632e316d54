// One server: where it is, what it wants to be told with each request, and short questions to it.
import { SwitchyardError } from '../../../core/errors/switchyard-error.ts';
import { type Answer, ask } from '../../http/ask.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Http, HttpCall, RunningCall } from '../../ports/http.ts';
import { asFields, parsed } from './chunk.ts';

/** Largest answer to a question: the metrics of a server with many adapters, or the ids of a long prompt. */
const maxAnswerBytes = 32 * 1024 * 1024;

export type Fields = Readonly<Record<string, unknown>>;

export interface ServerClient {
  /** Without a slash at the end. */
  readonly url: string;
  /** @throws SwitchyardError `unreachable` | `timeout` */
  get(path: string, timeoutMs: number): Promise<Answer>;
  /** Undefined: it answers with an error, or with no JSON object. @throws SwitchyardError `unreachable` | `timeout` */
  getJson(path: string, timeoutMs: number): Promise<Fields | undefined>;
  /** @throws SwitchyardError `unreachable` | `timeout` */
  post(path: string, body: unknown, timeoutMs: number): Promise<Answer>;
  call(call: Pick<HttpCall, 'onHead' | 'onData' | 'onEnd' | 'onFailed'> & { path: string; body: Uint8Array; headers: Fields }): RunningCall;
}

export function createClient({ url, apiKey, http, clock }: { url: string; apiKey: string | undefined; http: Http; clock: Clock }): ServerClient {
  const base = url.replace(/\/+$/, '').replace(/\/v1$/, '');
  const always: Record<string, string> = apiKey ? { authorization: `Bearer ${apiKey}` } : {};
  const posted = { ...always, 'content-type': 'application/json' };
  const get = (path: string, timeoutMs: number) => ask(http, clock, { url: base + path, headers: always, timeoutMs, maxBytes: maxAnswerBytes });

  return {
    url: base,
    get,
    async getJson(path, timeoutMs) {
      const { status, body } = await get(path, timeoutMs);
      return status === 200 ? parsed(body.toString()) : undefined;
    },
    post(path, body, timeoutMs) {
      const bytes = body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body));
      return ask(http, clock, { method: 'POST', url: base + path, headers: posted, body: bytes, timeoutMs, maxBytes: maxAnswerBytes });
    },
    call({ path, headers, ...call }) {
      return http.call({ method: 'POST', url: base + path, ...call, headers: { ...posted, ...(headers as Record<string, string>) } });
    },
  };
}

/** The answer's JSON, or undefined when it is an error or none. */
export function jsonOf(answer: Answer): Fields | undefined {
  return answer.status === 200 ? asFields(parsed(answer.body.toString())) : undefined;
}

/** Whether a question failed because nobody is there, and not because the server knows no such path. */
export function isAway(thrown: unknown): thrown is SwitchyardError {
  return thrown instanceof SwitchyardError && (thrown.code === 'unreachable' || thrown.code === 'timeout');
}
