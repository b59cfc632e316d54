// The control plane's messages. Production: NATS; twin: in memory. Both pass test/conformance/bus.
//
// Any message may be lost, repeated or late. A handler is never called after the message's deadline: both
// implementations drop expired messages and count them.
import type { Codec } from '../../proto/codec.ts';
import type { Meta } from '../../proto/gen/messages.ts';

/** A message as a caller writes it: the bus fills in `meta`. */
export type Body<T> = Omit<T, 'meta'>;

/** One kind of published message. `*` in the pattern stands for one key. */
export interface Topic<T extends { meta?: Meta | null }> {
  readonly pattern: string;
  readonly message: Codec<T>;
}

/** One kind of question with one answer. */
export interface Rpc<Question extends { meta?: Meta | null }, Answer extends { meta?: Meta | null }> {
  readonly pattern: string;
  readonly question: Codec<Question>;
  readonly answer: Codec<Answer>;
}

export interface MessageContext {
  readonly subject: string;
  /** The keys that `*` stood for. */
  readonly keys: readonly string[];
  readonly meta: Meta;
}

export interface Subscription {
  /** Takes no new message, lets running handlers finish. */
  stop(): Promise<void>;
}

export interface RequestOptions {
  readonly timeoutMs: number;
  /** Idempotency id; a new one when absent. Pass the same one when asking again. */
  readonly id?: string;
}

export interface Bus {
  /** Fire and forget. Dropped (and counted) while the bus is disconnected and its buffer full. */
  publish<T extends { meta?: Meta | null }>(
    topic: Topic<T>,
    keys: readonly string[],
    message: Body<T>,
    options?: { deadlineMs?: number; id?: string },
  ): void;

  /** `keys` may hold `*`. With `group`, one member of the group gets each message. */
  subscribe<T extends { meta?: Meta | null }>(
    topic: Topic<T>,
    keys: readonly string[],
    handler: (message: T, context: MessageContext) => void,
    options?: { group?: string },
  ): Subscription;

  /**
   * One question, one answer.
   * @throws SwitchyardError `timeout`, `no_responders` (nobody serves the subject), `bus_unavailable`, or what the
   * serving handler threw (code, message and retryable travel).
   */
  request<Q extends { meta?: Meta | null }, A extends { meta?: Meta | null }>(
    rpc: Rpc<Q, A>,
    keys: readonly string[],
    question: Body<Q>,
    options: RequestOptions,
  ): Promise<A>;

  serve<Q extends { meta?: Meta | null }, A extends { meta?: Meta | null }>(
    rpc: Rpc<Q, A>,
    keys: readonly string[],
    handler: (question: Q, context: MessageContext) => Body<A> | Promise<Body<A>>,
    options?: { group?: string },
  ): Subscription;

  /**
   * Asks everyone who serves the subject; returns the answers without failures, in the order they came. Ends
   * - when `expected` answers came, where that is given;
   * - otherwise when all have answered that did the last time this process asked, and nobody else for `quietMs` (default 25);
   * - after `timeoutMs` at the latest: the first time, and when somebody who answered the last time does not.
   * Empty at once when nobody serves. @throws SwitchyardError `bus_unavailable`
   */
  gather<Q extends { meta?: Meta | null }, A extends { meta?: Meta | null }>(
    rpc: Rpc<Q, A>,
    keys: readonly string[],
    question: Body<Q>,
    options: { timeoutMs: number; expected?: number; quietMs?: number },
  ): Promise<A[]>;

  /** Publishes and waits until the message is stored (JetStream). Retried with the same id until `timeoutMs`; stored once per id. Plain subscribers get it too. */
  record<T extends { meta?: Meta | null }>(
    topic: Topic<T>,
    keys: readonly string[],
    message: Body<T>,
    options: { id: string; timeoutMs?: number },
  ): Promise<void>;

  /** Recorded messages, at least once each, shared by all that name the same `durable`. Redelivered when the handler rejects. */
  consume<T extends { meta?: Meta | null }>(
    topic: Topic<T>,
    durable: string,
    handler: (message: T, context: MessageContext) => Promise<void>,
  ): Promise<Subscription>;

  /** The newest recorded messages of a topic, oldest first, at most `limit`; with `sinceMs` the first ones stored since then instead. */
  recorded<T extends { meta?: Meta | null }>(topic: Topic<T>, limit: number, options?: { sinceMs: number }): Promise<T[]>;

  connected(): boolean;
  /** Stops subscriptions, lets handlers and buffered messages go, then closes. */
  drain(): Promise<void>;
}
