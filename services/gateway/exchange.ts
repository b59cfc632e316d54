// One client's request while it is served: what the request actor's effects are carried out on.
import type { Endpoint } from '../../core/openai/request-body.ts';
import type { RequestFacts } from '../../core/request/request-state.ts';
import type { HttpResponse } from '../../lib/ports/http.ts';
import type { Span } from '../../lib/ports/telemetry.ts';
import type { LimitState } from '../../proto/gen/messages.ts';

export interface Exchange {
  readonly requestId: string;
  readonly facts: RequestFacts;
  readonly endpoint: Endpoint;
  /** What goes to the engine. */
  readonly body: Uint8Array;
  readonly includeUsage: boolean;
  /** What the answer states; empty: nothing. */
  readonly serviceTier: string;
  readonly createdS: number;
  readonly response: HttpResponse;
  /** On every response to this request. */
  readonly headers: Readonly<Record<string, string>>;
  /** `chat {model}`: the whole of it. */
  readonly span: Span;
  /** `admit`: from the first question to the assignment. */
  admitSpan: Span | undefined;
  /** `stream`: one for each instance that speaks. */
  streamSpan: Span | undefined;
  limits: LimitState | undefined;
  /** When the first stream was opened; 0: not yet. */
  openedAtMs: number;
  /** Streams that were opened with the body. */
  bodiesSent: number;
}

/** `chatcmpl-` and so on are made by the agent from the request id. */
export const operationNames: Readonly<Record<Endpoint, string>> = { chat: 'chat', completions: 'text_completion' };
