// Stores one message in a stream and waits for the stream's answer. The client library's own request captures two stack
// traces and makes three promises for each, which costs more than all else that the end of a request does.

import { createInbox, type MsgHdrs } from '@nats-io/transport-node';
import { ChurnMap } from '../../core/collections/churn-map.ts';
import type { Clock } from '../ports/clock.ts';
import type { WatchedConnection } from './nats-connection.ts';

/** Resolves when a stream has stored the message, or found its id among the stored ones. @throws Error when none has within `timeoutMs` */
export type Storing = (subject: string, data: Uint8Array, headers: MsgHdrs, timeoutMs: number) => Promise<void>;

interface Open {
  readonly stored: () => void;
  readonly failed: (why: string) => void;
}

export function createStoring({ connection, clock }: { connection: WatchedConnection; clock: Clock }): Storing {
  const { nats } = connection;
  const inbox = createInbox(connection.inboxPrefix);
  /** Bounded by the callers, who wait. */
  const open = new ChurnMap<string, Open>();
  let tokens = 0;

  nats.subscribe(`${inbox}.*`, {
    callback(error, message) {
      const asked = open.get(message.subject.slice(inbox.length + 1));
      if (!asked) return;
      if (error) asked.failed(error.message);
      else if (message.headers?.code === 503) asked.failed('no stream takes it');
      else {
        const answer = message.json<{ error?: { description: string } }>();
        if (answer.error) asked.failed(answer.error.description);
        else asked.stored();
      }
    },
  });
  // What was on its way is lost, and its time-out need not be awaited.
  connection.onReconnect(() => {
    for (const asked of [...open.values()]) asked.failed('the connection was lost');
  });

  return (subject, data, headers, timeoutMs) =>
    new Promise((resolve, reject) => {
      const token = (tokens++).toString(36);
      const leave = () => {
        open.delete(token);
        cancel();
      };
      const failed = (why: string) => {
        leave();
        reject(new Error(why));
      };
      const cancel = clock.after(timeoutMs, () => failed(`no answer within ${Math.round(timeoutMs)} ms`));
      open.set(token, {
        failed,
        stored() {
          leave();
          resolve();
        },
      });
      connection.atTurnEnd(() => {
        if (!open.has(token)) return;
        if (nats.isClosed()) failed('the connection is closed');
        else nats.publish(subject, data, { reply: `${inbox}.${token}`, headers });
      });
    });
}
