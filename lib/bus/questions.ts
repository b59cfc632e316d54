// Questions on their way and their answers: one inbox for all, one entry for each until it is answered or its time is up.
import { ChurnMap } from '../../core/collections/churn-map.ts';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { Clock } from '../ports/clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { failureOf } from './envelope.ts';
import { maxGathered, maxKnownResponders, maxOpenRequests } from './limits.ts';
import type { Outgoing, Wire, WireMessage } from './wire.ts';

export interface Questions {
  /** @throws SwitchyardError `timeout` | `no_responders` | `bus_unavailable`, or what the handler threw */
  ask(pattern: string, message: Outgoing, timeoutMs: number): Promise<WireMessage>;
  /** What `open` made of the answers that came in time, in their order. @throws SwitchyardError `bus_unavailable` */
  askAll<Answer>(message: Outgoing, window: GatherWindow, open: (received: WireMessage) => Gathered<Answer>): Promise<Answer[]>;
  /** Open questions fail with `bus_unavailable`. */
  close(): void;
}

export interface GatherWindow {
  readonly timeoutMs: number;
  /** Ends when so many answers came. Absent: see `quietMs`. */
  readonly expected: number | undefined;
  /** Ends when everybody answered who did the last time, and nobody for this long. */
  readonly quietMs: number;
}

export interface Gathered<Answer> {
  readonly sender: string;
  /** Undefined: the sender failed. */
  readonly answer: Answer | undefined;
}

interface Open {
  readonly answer: (message: WireMessage) => void;
  readonly fail: (error: SwitchyardError) => void;
}

export function createQuestions(options: { wire: Wire; clock: Clock; telemetry: Telemetry }): Questions {
  const { wire, clock, telemetry } = options;
  const asked = telemetry.counter('switchyard_bus_requests_total');
  const took = telemetry.histogram('switchyard_bus_request_seconds');
  const open = new ChurnMap<string, Open>();
  /** Who answered the last time, by subject: failures too. At the limit all are forgotten, and gathers wait their whole time once. */
  const responders = new Map<string, ReadonlySet<string>>();
  let tokens = 0;
  let closed = false;

  const unavailable = (message: Outgoing, why: string) => new SwitchyardError('bus_unavailable', `${why}, ${message.subject} was not asked`);

  wire.listen(`${wire.inbox}.*`, undefined, (received) => {
    // An answer that comes after its question's time finds no entry and is ignored.
    open.get(received.subject.slice(wire.inbox.length + 1))?.answer(received);
  });

  /**
   * Sends `message` and gives what comes back to `take` until that returns true; then, or when the time is up, resolves
   * with whether `take` was satisfied. A question asked while disconnected waits for the connection as long as its time lasts.
   */
  function exchange(message: Outgoing, timeoutMs: number, take: (answer: WireMessage) => boolean): Promise<'taken' | 'timeout'> {
    if (closed) return Promise.reject(unavailable(message, 'bus is closed'));
    if (open.size >= maxOpenRequests) return Promise.reject(unavailable(message, `${maxOpenRequests} questions are open already`));
    return new Promise((resolve, reject) => {
      const token = (tokens++).toString(36);
      let sent = false;
      let stopWaiting = () => {};
      const leave = () => {
        open.delete(token);
        cancel();
        stopWaiting();
      };
      const fail = (error: SwitchyardError) => {
        leave();
        reject(error);
      };
      const cancel = clock.after(timeoutMs, () => {
        if (!sent) return fail(unavailable(message, 'bus is not connected'));
        leave();
        resolve('timeout');
      });
      const send = () => {
        stopWaiting();
        sent = true;
        const result = wire.send({ ...message, reply: `${wire.inbox}.${token}` });
        if (result === 'too_large')
          fail(new SwitchyardError('internal', `question for ${message.subject} is too large: ${message.data.length} bytes`));
        else if (result !== 'sent') fail(unavailable(message, `bus says ${result}`));
      };
      open.set(token, {
        fail,
        answer: (answer) => {
          try {
            if (!take(answer)) return;
            leave();
            resolve('taken');
          } catch (thrown) {
            fail(thrown as SwitchyardError);
          }
        },
      });
      if (wire.connected()) send();
      else stopWaiting = wire.onReconnect(send);
    });
  }

  async function ask(message: Outgoing, timeoutMs: number): Promise<WireMessage> {
    let answer: WireMessage | undefined;
    await exchange({ ...message, oneAnswer: true }, timeoutMs, (received) => {
      if (received.noResponders) throw new SwitchyardError('no_responders', `nobody serves ${message.subject}`);
      const failure = failureOf(received.headers);
      if (failure) throw failure;
      answer = received;
      return true;
    });
    if (!answer) throw new SwitchyardError('timeout', `${message.subject} did not answer within ${timeoutMs} ms`);
    return answer;
  }

  /**
   * Nobody who answered the last time is left out for being slow, and somebody new is waited for a moment. Whoever comes
   * later still is noted until the time is up, so that the next gather waits for it.
   */
  function askAll<Answer>(
    message: Outgoing,
    { timeoutMs, expected, quietMs }: GatherWindow,
    open: (received: WireMessage) => Gathered<Answer>,
  ): Promise<Answer[]> {
    const answers: Answer[] = [];
    if (expected !== undefined && expected <= 0) return Promise.resolve(answers);
    const wanted = Math.min(expected ?? maxGathered, maxGathered);
    const known = expected === undefined ? responders.get(message.subject) : undefined;
    const answered = new Set<string>();
    let cancelQuiet = () => {};
    return new Promise((resolve, reject) => {
      const take = (received: WireMessage) => {
        if (received.noResponders) return true;
        const { sender, answer } = open(received);
        answered.add(sender);
        if (answer !== undefined) answers.push(answer);
        cancelQuiet();
        if (known && [...known].every((each) => answered.has(each))) cancelQuiet = clock.after(quietMs, () => resolve([...answers]));
        return answers.length >= wanted;
      };
      exchange(message, timeoutMs, take)
        .then(() => {
          if (expected === undefined) remember(message.subject, answered);
          resolve(answers);
        }, reject)
        .finally(() => cancelQuiet());
    });
  }

  function remember(subject: string, answered: ReadonlySet<string>): void {
    if (responders.size >= maxKnownResponders) responders.clear();
    responders.set(subject, answered);
  }

  return {
    async ask(pattern, message, timeoutMs) {
      const startMs = clock.now();
      try {
        const answer = await ask(message, timeoutMs);
        asked.add(1, { subject: pattern, result: 'ok' });
        return answer;
      } catch (thrown) {
        asked.add(1, { subject: pattern, result: thrown instanceof SwitchyardError ? thrown.code : 'internal' });
        throw thrown;
      } finally {
        took.observe((clock.now() - startMs) / 1000, { subject: pattern });
      }
    },
    askAll,
    close() {
      closed = true;
      for (const each of [...open.values()]) each.fail(new SwitchyardError('bus_unavailable', 'bus was closed before the answer came'));
    },
  };
}
