// One request and its answer, timed, with as little work on the client's side as there can be: events are counted, not parsed.
import type { Dispatcher } from 'undici';

export interface Exchange {
  /** Empty: a whole answer with status 200. */
  readonly failure: string;
  readonly firstByteMs: number;
  readonly totalMs: number;
  /** Server-sent events; 0 when the answer is not a stream. */
  readonly events: number;
  /** What the gateway says that it added (x-switchyard-overhead-ms); NaN where it says nothing. */
  readonly overheadMs: number;
}

const newLine = 10;
const keptOfFailure = 300;

export function exchange(client: Dispatcher, request: { path: string; headers: Readonly<Record<string, string>>; body: string }): Promise<Exchange> {
  return new Promise((resolve) => {
    const startMs = performance.now();
    let firstByteMs = Number.NaN;
    let overheadMs = Number.NaN;
    let status = 0;
    let events = 0;
    let lastByte = 0;
    let ended = '';
    const finish = (failure: string) => resolve({ failure, firstByteMs, totalMs: performance.now() - startMs, events, overheadMs });
    client.dispatch(
      { method: 'POST', ...request },
      {
        onRequestStart() {},
        onResponseStart(_, statusCode, headers) {
          status = statusCode;
          overheadMs = Number(headers['x-switchyard-overhead-ms'] ?? Number.NaN);
        },
        onResponseData(_, chunk) {
          if (Number.isNaN(firstByteMs)) firstByteMs = performance.now() - startMs;
          if (status !== 200) ended = (ended + chunk.toString()).slice(0, keptOfFailure);
          for (let at = chunk.indexOf(newLine); at >= 0; at = chunk.indexOf(newLine, at + 1)) {
            if ((at > 0 ? chunk[at - 1] : lastByte) === newLine) events += 1;
          }
          lastByte = chunk.at(-1) ?? lastByte;
        },
        onResponseEnd: () => finish(status === 200 ? '' : `${status} ${ended}`),
        onResponseError: (_, thrown) => finish(String(thrown)),
      },
    );
  });
}
