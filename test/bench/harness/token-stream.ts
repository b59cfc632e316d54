// A client that keeps a stream open and notes when each of its tokens came.
import type { Dispatcher } from 'undici';
import { eventually } from '../../support/eventually.ts';

export interface TokenStream {
  readonly requestId: string;
  /** When each piece came, by performance.now(), ms. */
  readonly cameMs: readonly number[];
  /** Tokens so far with each piece: a fast engine's come several in one. */
  readonly tokensBy: readonly number[];
  /** Resolves when `more` further tokens have come. @throws Error when they do not come within the limit, or the stream ends */
  more(more: number, limitMs?: number): Promise<void>;
  close(): void;
}

export interface TokenStreamOptions {
  readonly headers: Readonly<Record<string, string>>;
  readonly model: string;
  readonly promptTokens: number;
  readonly maxTokens: number;
  readonly seed: number;
  /** Ids that a prompt is made of. */
  readonly ids?: { readonly from: number; readonly count: number };
  /** Default: a minute. */
  readonly firstWithinMs?: number;
  /** Further fields of the body. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** Prompts of token ids; no two alike. */
export async function openTokenStream(client: Dispatcher, options: TokenStreamOptions): Promise<TokenStream> {
  const { ids = { from: 1_000, count: 20_000 }, fields } = options;
  const prompt = Array.from({ length: options.promptTokens }, (_, index) => ids.from + ((index * 31 + options.seed * 7_919) % ids.count));
  const cameMs: number[] = [];
  const tokensBy: number[] = [];
  let requestId = '';
  let ended = '';
  let control: Dispatcher.DispatchController | undefined;
  client.dispatch(
    {
      method: 'POST',
      path: '/v1/completions',
      headers: { 'content-type': 'application/json', ...options.headers },
      body: JSON.stringify({ model: options.model, prompt, max_tokens: options.maxTokens, stream: true, ...fields }),
    },
    {
      onRequestStart(controller) {
        control = controller;
      },
      onResponseStart(_, status, headers) {
        requestId = String(headers['x-switchyard-request-id'] ?? '');
        if (status !== 200) ended = `status ${status}`;
      },
      onResponseData(_, chunk) {
        if (ended === '') {
          cameMs.push(performance.now());
          tokensBy.push((tokensBy.at(-1) ?? 0) + chunk.toString().split('data: ').length - 1);
        } else ended += chunk.toString();
      },
      onResponseEnd() {
        ended ||= 'it ended';
      },
      onResponseError(_, thrown) {
        ended ||= String(thrown);
      },
    },
  );
  const more = (count: number, limitMs = 60_000) => {
    const wanted = cameMs.length + count;
    return eventually(`${count} more tokens of ${requestId || 'a stream'}`, limitMs, () => {
      if (ended !== '') throw new Error(`a stream exited with ${ended}`);
      return { ok: cameMs.length >= wanted, seen: cameMs.length };
    });
  };
  await more(1, options.firstWithinMs);
  return { requestId, cameMs, tokensBy, more, close: () => control?.abort(new Error('closed')) };
}

export interface Gap {
  readonly startMs: number;
  readonly endMs: number;
}

/** Between one piece and the next, for those that end within the window. */
export function gapsWithin(cameMs: readonly number[], fromMs: number, toMs: number): Gap[] {
  return cameMs.flatMap((endMs, index) => (index > 0 && endMs > fromMs && endMs <= toMs ? [{ startMs: cameMs[index - 1]!, endMs }] : []));
}

export function longestOf(gaps: readonly Gap[]): Gap | undefined {
  return gaps.toSorted((a, b) => b.endMs - b.startMs - (a.endMs - a.startMs))[0];
}
