// What carries the bus: subjects, bytes and headers, and a log of recorded messages. Implemented over NATS and in memory;
// everything above it (envelopes, deadlines, answers, gather) is in wire-bus.ts and the same for both.

/** Names a recorded message: it is stored once per value. */
export const messageIdHeader = 'Nats-Msg-Id';

export type Headers = Readonly<Record<string, string>>;

export interface WireMessage {
  readonly subject: string;
  /** Empty: no answer is wanted. */
  readonly reply: string;
  readonly headers: Headers | undefined;
  readonly data: Uint8Array;
  /** Sent by the carrier itself: nobody listens to the subject of the question. */
  readonly noResponders: boolean;
}

export interface Outgoing {
  readonly subject: string;
  readonly data: Uint8Array;
  readonly reply?: string | undefined;
  /** A question that one answer satisfies, whoever gives it. */
  readonly oneAnswer?: boolean;
  readonly headers?: Headers | undefined;
}

export type SendResult = 'sent' | 'buffer_full' | 'too_large' | 'closed';

export interface Listening {
  /** When it resolves, no message is received any more. */
  stop(): Promise<void>;
}

export interface Wire {
  /** While disconnected messages wait in a bounded buffer and go out in order after the reconnect. */
  send(message: Outgoing): SendResult;
  /** With `group`, one member of the group receives each message. `receive` must not throw. */
  listen(subject: string, group: string | undefined, receive: (message: WireMessage) => void): Listening;
  /** A subject of this connection alone, for answers. */
  readonly inbox: string;
  connected(): boolean;
  /** Calls `run` after every reconnect until cancelled. */
  onReconnect(run: () => void): () => void;
  /** Sends what is buffered, then closes. */
  close(): Promise<void>;
  readonly log: MessageLog;
}

export interface StreamSpec {
  readonly stream: string;
  /** The subjects that the stream stores. */
  readonly pattern: string;
  readonly maxAgeMs: number;
  readonly maxMessages: number;
}

export interface LogEntry {
  readonly subject: string;
  readonly headers: Headers | undefined;
  readonly data: Uint8Array;
}

/** done: never again. again: after a delay, to any consumer. never: cannot be handled, not even later. */
export type Verdict = 'done' | 'again' | 'never';

export interface Consumption {
  /** `attempt` counts deliveries from 1. Must not reject. */
  readonly deliver: (entry: LogEntry, attempt: number) => Promise<Verdict>;
  /** The last allowed delivery asked for another one. */
  readonly givenUp: (entry: LogEntry) => void;
}

export interface MessageLog {
  /** Resolves when stored. Stored once per id. @throws SwitchyardError `timeout` | `bus_unavailable` after `timeoutMs` */
  append(spec: StreamSpec, entry: LogEntry, options: { id: string; timeoutMs: number }): Promise<void>;
  consume(spec: StreamSpec, durable: string, consumption: Consumption): Promise<Listening>;
  /** Oldest first. */
  newest(spec: StreamSpec, limit: number): Promise<LogEntry[]>;
  /** The first ones stored since then, oldest first. */
  since(spec: StreamSpec, sinceMs: number, limit: number): Promise<LogEntry[]>;
}
