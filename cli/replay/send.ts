// Sends one request of a replayed workload through the HTTP API and checks every token that comes back.
import type { Dispatcher } from 'undici';
import { expectedTokens } from '../../core/engine/token-function.ts';
import { compareTokens, type Deviation, noDeviation } from './compare-tokens.ts';

export interface ReplayedRequest {
  readonly model: string;
  readonly prompt: string;
  readonly outputTokens: number;
  readonly sloClass: string;
  /** What must come back. Left out: what a simulated engine of that model says. */
  readonly expectedText?: string;
  /** Further fields of the body. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

export interface ReplayResult {
  readonly requestId: string;
  /** `wrong`: the text is not what the model says to this prompt; `cut`: the stream ended without [DONE]. */
  readonly outcome: 'exact' | 'wrong' | 'cut' | 'refused' | 'failed';
  readonly detail: string;
  /** 0 when no answer came. */
  readonly status: number;
  /** Told with a refusal; 0: it was not. */
  readonly retryAfterMs: number;
  /** Of what was received from the expected answer; an end that came too early, and said so, counts nothing. */
  readonly deviation: Deviation;
  readonly ttftMs: number;
  /** NaN for one token. */
  readonly tpotMs: number;
  readonly e2eMs: number;
  /** Longest wait between two pieces of the answer. */
  readonly longestGapMs: number;
  readonly tokens: number;
}

interface Chunk {
  readonly choices?: readonly { readonly text?: string; readonly finish_reason?: string | null }[];
  readonly usage?: { readonly completion_tokens?: number } | null;
  readonly error?: { readonly code?: string; readonly message?: string };
}

/** The `data:` payloads of a server-sent event stream, as they complete. */
async function* events(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let held = '';
  for await (const bytes of body) {
    held += decoder.decode(bytes, { stream: true });
    for (let end = held.indexOf('\n\n'); end >= 0; end = held.indexOf('\n\n')) {
      const event = held.slice(0, end);
      held = held.slice(end + 2);
      if (event.startsWith('data: ')) yield event.slice(6);
    }
  }
}

export async function send(
  client: Dispatcher,
  request: ReplayedRequest,
  options: { apiKey: string; now: () => number; signal?: AbortSignal },
): Promise<ReplayResult> {
  const { now } = options;
  const expectedText = () => request.expectedText ?? expectedTokens(request.model, request.prompt, request.outputTokens).text;
  const startedMs = now();
  let requestId = '';
  let text = '';
  let tokens = 0;
  let firstMs = Number.NaN;
  let lastMs = Number.NaN;
  let longestGapMs = 0;
  let done = false;
  let status = 0;
  let retryAfterMs = 0;

  const result = (outcome: ReplayResult['outcome'], detail: string): ReplayResult => ({
    requestId,
    outcome,
    detail,
    status,
    retryAfterMs,
    deviation: text === '' && !done ? noDeviation : compareTokens(expectedText(), text, done),
    ttftMs: firstMs - startedMs,
    tpotMs: tokens > 1 ? (lastMs - firstMs) / (tokens - 1) : Number.NaN,
    e2eMs: lastMs - startedMs,
    longestGapMs,
    tokens,
  });

  try {
    const response = await client.request({
      method: 'POST',
      path: '/v1/completions',
      headers: {
        'content-type': 'application/json',
        ...(options.apiKey ? { authorization: `Bearer ${options.apiKey}` } : {}),
      },
      body: JSON.stringify({
        model: request.model,
        prompt: request.prompt,
        max_tokens: request.outputTokens,
        stream: true,
        stream_options: { include_usage: true },
        service_tier: request.sloClass,
        ...request.fields,
      }),
      headersTimeout: 0,
      bodyTimeout: 0,
      signal: options.signal,
    });
    requestId = String(response.headers['x-switchyard-request-id'] ?? '');
    status = response.statusCode;
    if (status !== 200) {
      retryAfterMs = Number(response.headers['retry-after-ms'] ?? 0);
      const answer = (await response.body.json()) as Chunk;
      return result(status === 429 ? 'refused' : 'failed', `${status} ${answer.error?.code ?? ''}: ${answer.error?.message ?? ''}`);
    }
    for await (const data of events(response.body)) {
      if (data === '[DONE]') {
        done = true;
        continue;
      }
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) return result('failed', `${chunk.error.code}: ${chunk.error.message}`);
      tokens = chunk.usage?.completion_tokens ?? tokens;
      const piece = chunk.choices?.[0]?.text ?? '';
      if (piece === '') continue;
      text += piece;
      const atMs = now();
      if (Number.isNaN(firstMs)) firstMs = atMs;
      else longestGapMs = Math.max(longestGapMs, atMs - lastMs);
      lastMs = atMs;
    }
  } catch (thrown) {
    return result('failed', thrown instanceof Error ? thrown.message : String(thrown));
  }
  if (!done) return result('cut', `the stream ended after ${tokens} tokens without [DONE]`);
  const expected = expectedText();
  if (text !== expected)
    return result('wrong', `${text.length} characters, expected ${expected.length}; first difference at ${firstDifference(text, expected)}`);
  return result('exact', '');
}

function firstDifference(a: string, b: string): number {
  let at = 0;
  while (at < a.length && at < b.length && a[at] === b[at]) at++;
  return at;
}
