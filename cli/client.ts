// Talks to the operator API. Every failure becomes one sentence that says what to do.
import { serverHeader } from '../lib/operator/types.ts';

export interface OperatorClient {
  get<T>(path: string): Promise<T>;
  post<T>(path: string, body: unknown): Promise<T>;
  delete<T>(path: string): Promise<T>;
}

/** A failure with the exit code that scripts can tell apart: 2 wrong use, 3 not reachable, 4 refused, 1 anything else. */
export class CommandFailure extends Error {
  readonly exitCode: number;
  readonly code: string;

  constructor(message: string, exitCode: number, code: string) {
    super(message);
    this.name = 'CommandFailure';
    this.exitCode = exitCode;
    this.code = code;
  }
}

interface ErrorBody {
  readonly error?: { readonly message?: string; readonly code?: string };
}

/** Names that the operator API takes. */
export const operatorPattern = /^[A-Za-z0-9._@-]{1,64}$/;

/** With a `key` the operator API knows who asks; without one `operator` says so. */
export function createClient(options: { url: string; operator: string; key?: string | undefined; timeoutMs: number }): OperatorClient {
  const who: Record<string, string> = options.key ? { authorization: `Bearer ${options.key}` } : { 'x-switchyard-operator': options.operator };
  const base = `${options.url.replace(/\/+$/, '')}/operator/v1`;

  async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
    let response: Response;
    try {
      response = await fetch(base + path, {
        method,
        headers: { 'content-type': 'application/json', ...who },
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: AbortSignal.timeout(options.timeoutMs),
      });
    } catch (thrown) {
      if (thrown instanceof Error && thrown.name === 'TimeoutError') {
        throw new CommandFailure(`no answer from ${options.url} within ${options.timeoutMs} ms; longer: --timeout`, 3, 'timeout');
      }
      throw new CommandFailure(
        `cannot reach the operator API at ${options.url}: is Switchyard running ("npm start")? Another address: --url or SWITCHYARD_URL`,
        3,
        'unreachable',
      );
    }
    if (!response.headers.has(serverHeader)) {
      throw new CommandFailure(`what answers at ${options.url} (status ${response.status}) is not the operator API: check --url`, 3, 'unreachable');
    }
    let value: unknown;
    try {
      value = await response.json();
    } catch {
      throw new CommandFailure(`the answer of ${options.url} was cut, or is not JSON: try again`, 1, 'internal');
    }
    if (response.ok) return value as T;
    const error = (value as ErrorBody | null)?.error;
    throw new CommandFailure(error?.message ?? `status ${response.status}`, response.status >= 500 ? 1 : 4, error?.code ?? 'internal');
  }

  return {
    get: (path) => call('GET', path),
    post: (path, body) => call('POST', path, body),
    delete: (path) => call('DELETE', path),
  };
}
