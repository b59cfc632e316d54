// The Bus port over a wire: envelopes, deadlines, answers, failures, traces, and handlers' bookkeeping. What differs
// between NATS and the twin is below, in their wires.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { Meta } from '../../proto/gen/messages.ts';
import { recordedTopics } from '../contracts.ts';
import type { Body, Bus, MessageContext, Rpc, Subscription, Topic } from '../ports/bus.ts';
import { type Clock, sleep } from '../ports/clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { failureHeaders, failureOf, failureSender, traceOf } from './envelope.ts';
import { type HandlerGroup, handlerGroup } from './handlers.ts';
import { maxDrainMs, quietMs, recordTimeoutMs } from './limits.ts';
import { createQuestions } from './questions.ts';
import { keysOf, subjectOf } from './subject.ts';
import type { Headers, Listening, LogEntry, SendResult, StreamSpec, Wire, WireMessage } from './wire.ts';

type Enveloped = { meta?: Meta | null };

export interface WireBusOptions {
  readonly wire: Wire;
  readonly identity: string;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** A new message id. */
  readonly newId: () => string;
}

export function createWireBus(options: WireBusOptions): Bus {
  const { wire, identity, clock, telemetry, newId } = options;
  const dropped = telemetry.counter('switchyard_bus_dropped_total');
  const redelivered = telemetry.counter('switchyard_bus_redeliveries_total');
  const questions = createQuestions({ wire, clock, telemetry });
  const subscriptions = new Set<Subscription>();
  let state: 'open' | 'draining' | 'closed' = 'open';

  function seal<T extends Enveloped>(
    topic: { message: { encode(message: T): Uint8Array } },
    body: Body<T>,
    id: string,
    deadlineMs: number,
  ): Uint8Array {
    const meta: Meta = { id, deadlineMs, sentAtMs: clock.now(), sender: identity, traceparent: telemetry.active()?.traceparent ?? '' };
    return topic.message.encode({ ...body, meta } as unknown as T);
  }

  function countUnsent(result: SendResult, subject: string): void {
    if (result === 'sent') return;
    dropped.add(1, { cause: result });
    if (result === 'too_large') telemetry.log.error('message too large, dropped', { subject });
  }

  /** Undefined, counted and logged: the bytes are not this message. */
  function decoded<T>(codec: { decode(bytes: Uint8Array): T }, { subject, data }: LogEntry): T | undefined {
    try {
      return codec.decode(data);
    } catch (thrown) {
      dropped.add(1, { cause: 'undecodable' });
      telemetry.log.error('message cannot be decoded, dropped', { subject, error: String(thrown) });
      return undefined;
    }
  }

  /** The message and its context, or undefined (and counted) when no handler may see it. */
  function open<T extends Enveloped>(pattern: string, codec: { decode(bytes: Uint8Array): T }, entry: LogEntry): [T, MessageContext] | undefined {
    const message = decoded(codec, entry);
    if (message === undefined) return undefined;
    const meta = message.meta ?? { id: '', deadlineMs: 0, sentAtMs: 0, sender: '', traceparent: '' };
    if (meta.deadlineMs > 0 && clock.now() > meta.deadlineMs) {
      dropped.add(1, { cause: 'expired' });
      return undefined;
    }
    return [message, { subject: entry.subject, keys: keysOf(pattern, entry.subject), meta }];
  }

  function subscription(listening: Listening, running: HandlerGroup): Subscription {
    const self: Subscription = {
      async stop() {
        subscriptions.delete(self);
        await listening.stop();
        await running.idle();
      },
    };
    subscriptions.add(self);
    return self;
  }

  async function drain(): Promise<void> {
    if (state !== 'open') return;
    state = 'draining';
    const enough = new AbortController();
    // Handlers that run may still ask and answer. The ones that run after the limit are left behind.
    await Promise.race([Promise.all([...subscriptions].map((each) => each.stop())), sleep(clock, maxDrainMs, enough.signal)]);
    enough.abort();
    state = 'closed';
    questions.close();
    await wire.close();
  }

  return {
    publish(topic, keys, body, given = {}) {
      const subject = subjectOf(topic.pattern, keys);
      const data = seal(topic, body, given.id ?? newId(), given.deadlineMs ?? 0);
      countUnsent(wire.send({ subject, data }), topic.pattern);
    },

    subscribe(topic, keys, handler, given = {}) {
      const running = handlerGroup(topic.pattern, telemetry);
      const listening = wire.listen(subjectOf(topic.pattern, keys), given.group, (received) => {
        const opened = open(topic.pattern, topic.message, received);
        if (opened) running.start(traceOf(opened[1].meta), () => handler(...opened));
      });
      return subscription(listening, running);
    },

    async request(rpc, keys, question, given) {
      const data = seal({ message: rpc.question }, question, given.id ?? newId(), clock.now() + given.timeoutMs);
      const answer = await questions.ask(rpc.pattern, { subject: subjectOf(rpc.pattern, keys), data }, given.timeoutMs);
      const opened = decoded(rpc.answer, answer);
      if (opened === undefined) throw new SwitchyardError('internal', `the answer of ${rpc.pattern} cannot be decoded`);
      return opened;
    },

    serve<Question extends Enveloped, Answer extends Enveloped>(
      rpc: Rpc<Question, Answer>,
      keys: readonly string[],
      handler: (question: Question, context: MessageContext) => Body<Answer> | Promise<Body<Answer>>,
      given: { group?: string } = {},
    ) {
      const running = handlerGroup(rpc.pattern, telemetry);
      const listening = wire.listen(subjectOf(rpc.pattern, keys), given.group, (received) => {
        const opened = open(rpc.pattern, rpc.question, received);
        if (opened) running.start(traceOf(opened[1].meta), () => answer(opened, received));
      });
      async function answer([question, context]: [Question, MessageContext], { reply }: WireMessage): Promise<void> {
        const send = (data: Uint8Array, headers?: Headers) => {
          if (reply !== '') countUnsent(wire.send({ subject: reply, data, headers }), rpc.pattern);
        };
        try {
          send(seal({ message: rpc.answer }, await handler(question, context), context.meta.id, 0));
        } catch (thrown) {
          send(new Uint8Array(), failureHeaders(thrown, identity));
          throw thrown;
        }
      }
      return subscription(listening, running);
    },

    async gather(rpc, keys, question, given) {
      const data = seal({ message: rpc.question }, question, newId(), clock.now() + given.timeoutMs);
      const message = { subject: subjectOf(rpc.pattern, keys), data };
      const window = { timeoutMs: given.timeoutMs, expected: given.expected, quietMs: given.quietMs ?? quietMs };
      return questions.askAll(message, window, ({ subject, headers, data }) => {
        if (failureOf(headers)) return { sender: failureSender(headers), answer: undefined };
        const answer = decoded(rpc.answer, { subject, headers, data });
        return { sender: answer?.meta?.sender ?? '', answer };
      });
    },

    async record(topic, keys, body, given) {
      const spec = streamOf(topic);
      const subject = subjectOf(topic.pattern, keys);
      if (state === 'closed') throw new SwitchyardError('bus_unavailable', `bus is closed, message for ${subject} was not recorded`);
      const entry = { subject, data: seal(topic, body, given.id, 0), headers: undefined };
      await wire.log.append(spec, entry, { id: given.id, timeoutMs: given.timeoutMs ?? recordTimeoutMs });
    },

    async consume(topic, durable, handler) {
      const running = handlerGroup(topic.pattern, telemetry);
      const listening = await wire.log.consume(streamOf(topic), durable, {
        async deliver(entry, attempt) {
          if (attempt > 1) redelivered.add(1, { subject: topic.pattern });
          const opened = open(topic.pattern, topic.message, entry);
          if (!opened) return 'never';
          return running
            .run(traceOf(opened[1].meta), () => handler(...opened))
            .then(
              () => 'done',
              () => 'again',
            );
        },
        givenUp(entry) {
          dropped.add(1, { cause: 'given_up' });
          telemetry.log.error('recorded message given up after its last delivery', { subject: entry.subject, durable });
        },
      });
      return subscription(listening, running);
    },

    async recorded(topic, limit, given) {
      const spec = streamOf(topic);
      const entries = await (given ? wire.log.since(spec, given.sinceMs, limit) : wire.log.newest(spec, limit));
      return entries.flatMap((entry) => decoded(topic.message, entry) ?? []);
    },

    connected: () => state === 'open' && wire.connected(),

    drain,
  };
}

/** @throws Error when the topic is not in `recordedTopics` */
function streamOf<T extends Enveloped>(topic: Topic<T>): StreamSpec {
  const found = recordedTopics.find((each) => each.topic.pattern === topic.pattern);
  if (!found) throw new Error(`${topic.pattern} is not a recorded topic`);
  return { stream: found.stream, pattern: topic.pattern, maxAgeMs: found.maxAgeMs, maxMessages: found.maxMessages };
}
