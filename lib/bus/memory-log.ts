// The twin of JetStream: streams of recorded messages, and durable consumers that share them.
import type { Clock } from '../ports/clock.ts';
import { acknowledgeWithinMs, maxConsuming, maxDeliveries, recordedIdMs, redeliveryDelayMs } from './limits.ts';
import { matches } from './subject.ts';
import { type Consumption, type Listening, type LogEntry, messageIdHeader, type Outgoing, type StreamSpec } from './wire.ts';

interface Stored {
  readonly sequence: number;
  readonly atMs: number;
  readonly entry: LogEntry;
}

interface Stream {
  readonly spec: StreamSpec;
  readonly entries: Stored[];
  nextSequence: number;
  /** Ids of the last `recordedIdMs`, in order of time. */
  readonly ids: Map<string, number>;
  readonly durables: Map<string, Durable>;
}

interface Delivery {
  readonly entry: LogEntry;
  readonly attempt: number;
}

interface Durable {
  /** The first sequence that was not handed out yet. */
  cursor: number;
  readonly again: Delivery[];
  readonly members: Member[];
  turn: number;
}

interface Member {
  readonly connected: () => boolean;
  readonly consumption: Consumption;
  consuming: number;
}

export interface MemoryLog {
  declare(spec: StreamSpec): void;
  /** Stores the message in every stream that its subject belongs to, once per message id. */
  store(message: Outgoing): void;
  consume(spec: StreamSpec, durable: string, connected: () => boolean, consumption: Consumption): Listening;
  newest(spec: StreamSpec, limit: number): LogEntry[];
  since(spec: StreamSpec, sinceMs: number, limit: number): LogEntry[];
  /** A member has reconnected. */
  resume(): void;
}

export function createMemoryLog(clock: Clock): MemoryLog {
  const streams = new Map<string, Stream>();

  function streamOf(spec: StreamSpec): Stream {
    let stream = streams.get(spec.stream);
    if (!stream) {
      stream = { spec, entries: [], nextSequence: 1, ids: new Map(), durables: new Map() };
      streams.set(spec.stream, stream);
    }
    return stream;
  }

  /** Drops what is too old or too much. */
  function trim(stream: Stream): void {
    const oldestMs = clock.now() - stream.spec.maxAgeMs;
    let dropped = Math.max(0, stream.entries.length - stream.spec.maxMessages);
    while (dropped < stream.entries.length && stream.entries[dropped]!.atMs < oldestMs) dropped++;
    if (dropped > 0) stream.entries.splice(0, dropped);
    for (const [id, atMs] of stream.ids) {
      if (atMs + recordedIdMs > clock.now()) break;
      stream.ids.delete(id);
    }
  }

  function store(message: Outgoing): void {
    for (const stream of streams.values()) {
      if (!matches(stream.spec.pattern, message.subject)) continue;
      trim(stream);
      const id = message.headers?.[messageIdHeader];
      if (id !== undefined) {
        if (stream.ids.has(id)) continue;
        stream.ids.set(id, clock.now());
      }
      const entry = { subject: message.subject, headers: message.headers, data: message.data };
      stream.entries.push({ sequence: stream.nextSequence++, atMs: clock.now(), entry });
      trim(stream);
      for (const durable of stream.durables.values()) pump(stream, durable);
    }
  }

  function next(stream: Stream, durable: Durable): Delivery | undefined {
    const again = durable.again.shift();
    if (again) return again;
    const oldest = stream.entries[0];
    if (!oldest || durable.cursor >= stream.nextSequence) return undefined;
    durable.cursor = Math.max(durable.cursor, oldest.sequence);
    const stored = stream.entries[durable.cursor - oldest.sequence];
    if (!stored) return undefined;
    durable.cursor++;
    return { entry: stored.entry, attempt: 1 };
  }

  function pump(stream: Stream, durable: Durable): void {
    for (;;) {
      const free = durable.members.filter((member) => member.connected() && member.consuming < maxConsuming);
      if (free.length === 0) return;
      const delivery = next(stream, durable);
      if (!delivery) return;
      const member = free[durable.turn++ % free.length]!;
      member.consuming++;
      queueMicrotask(() => void deliver(stream, durable, member, delivery));
    }
  }

  async function deliver(stream: Stream, durable: Durable, member: Member, delivery: Delivery): Promise<void> {
    const verdict = await member.consumption.deliver(delivery.entry, delivery.attempt);
    member.consuming--;
    // A consumer that lost its connection meanwhile cannot acknowledge: the message goes to another after a while.
    if (!member.connected()) redeliver(stream, durable, delivery, acknowledgeWithinMs);
    else if (verdict === 'again') {
      if (delivery.attempt < maxDeliveries) redeliver(stream, durable, delivery, redeliveryDelayMs(delivery.attempt));
      else member.consumption.givenUp(delivery.entry);
    }
    pump(stream, durable);
  }

  function redeliver(stream: Stream, durable: Durable, delivery: Delivery, delayMs: number): void {
    clock.after(delayMs, () => {
      durable.again.push({ entry: delivery.entry, attempt: delivery.attempt + 1 });
      pump(stream, durable);
    });
  }

  return {
    declare: (spec) => {
      streamOf(spec);
    },
    store,
    consume(spec, name, connected, consumption) {
      const stream = streamOf(spec);
      let durable = stream.durables.get(name);
      if (!durable) {
        durable = { cursor: 1, again: [], members: [], turn: 0 };
        stream.durables.set(name, durable);
      }
      const { members } = durable;
      const member: Member = { connected, consumption, consuming: 0 };
      members.push(member);
      pump(stream, durable);
      return {
        async stop() {
          const at = members.indexOf(member);
          if (at >= 0) members.splice(at, 1);
        },
      };
    },
    newest(spec, limit) {
      const stream = streamOf(spec);
      trim(stream);
      return limit > 0 ? stream.entries.slice(-limit).map((stored) => stored.entry) : [];
    },
    since(spec, sinceMs, limit) {
      const stream = streamOf(spec);
      trim(stream);
      const first = stream.entries.findIndex(({ atMs }) => atMs >= sinceMs);
      return first < 0 ? [] : stream.entries.slice(first, first + limit).map((stored) => stored.entry);
    },
    resume() {
      for (const stream of streams.values()) for (const durable of stream.durables.values()) pump(stream, durable);
    },
  };
}
