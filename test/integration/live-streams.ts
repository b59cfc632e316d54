// Clients of the gateway for these tests: each checks its own tokens as they come.
import { Agent } from 'undici';
import { type ReplayedRequest, type ReplayResult, send } from '../../cli/replay/send.ts';

export interface Streams {
  open(request: ReplayedRequest): Promise<ReplayResult>;
  close(): Promise<void>;
}

/** A stream that is opened beyond `connections` at once waits here, and no gateway knows of it. */
export function connectStreams(url: string, apiKey = '', connections = 2_000): Streams {
  const agent = new Agent({ connections, pipelining: 1 });
  const client = agent.compose((dispatch) => (request, handler) => dispatch({ ...request, origin: url }, handler));
  return {
    open: (request) => send(client, request, { apiKey, now: () => performance.now() }),
    close: () => agent.close(),
  };
}

/** One line a failed request, for assertions that say what went wrong. */
export function problems(results: readonly ReplayResult[]): string[] {
  return results.filter((result) => result.outcome !== 'exact').map((result) => `${result.requestId}: ${result.outcome}: ${result.detail}`);
}
