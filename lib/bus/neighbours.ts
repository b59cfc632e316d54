// Services that share a process answer each other's questions without the carrier between them: one turn of the event loop
// instead of two trips through a server. Only questions that one answer satisfies take this way, and only while the wire is
// connected; events, gathers and records go to everybody, here and elsewhere, as ever.
import { maxMessageBytes } from './limits.ts';
import type { Listening, Outgoing, SendResult, Wire, WireMessage } from './wire.ts';

export interface Neighbours {
  /** The same wire, with a short way to the others that joined. */
  join(wire: Wire): Wire;
}

type Receive = (message: WireMessage) => void;

export function createNeighbours(): Neighbours {
  /** Who listens to a subject; of several the newest, which is last, has taken over from the others. */
  const listeners = new Map<string, Receive[]>();
  const inboxes = new Set<string>();

  function receiverOf({ subject, reply, oneAnswer }: Outgoing): Receive | undefined {
    if (reply !== undefined) return oneAnswer ? newest(subject) : undefined;
    // An answer goes to an inbox and the number of its question.
    const inbox = subject.slice(0, subject.lastIndexOf('.'));
    return inboxes.has(inbox) ? newest(`${inbox}.*`) : undefined;
  }

  function newest(subject: string): Receive | undefined {
    return listeners.get(subject)?.at(-1);
  }

  function join(wire: Wire): Wire {
    inboxes.add(wire.inbox);

    function send(message: Outgoing): SendResult {
      const receive = wire.connected() && message.data.length <= maxMessageBytes ? receiverOf(message) : undefined;
      if (!receive) return wire.send(message);
      const { subject, reply = '', headers, data } = message;
      queueMicrotask(() => receive({ subject, reply, headers, data, noResponders: false }));
      return 'sent';
    }

    function listen(subject: string, group: string | undefined, receive: Receive): Listening {
      const listening = wire.listen(subject, group, receive);
      listeners.set(subject, [...(listeners.get(subject) ?? []), receive]);
      return {
        stop() {
          const others = listeners.get(subject)?.filter((other) => other !== receive) ?? [];
          if (others.length > 0) listeners.set(subject, others);
          else listeners.delete(subject);
          return listening.stop();
        },
      };
    }

    async function close(): Promise<void> {
      inboxes.delete(wire.inbox);
      await wire.close();
    }

    return { ...wire, send, listen, close };
  }

  return { join };
}
