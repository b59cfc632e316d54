// Carries the bus inside one process. Delivery is asynchronous (microtasks, in order): nobody runs a handler within the
// step that sent the message, and one turn of the event loop sees every message through.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { Clock } from '../ports/clock.ts';
import { maxBufferedBytes, maxBufferedMessages, maxMessageBytes } from './limits.ts';
import { createMemoryLog } from './memory-log.ts';
import { matches } from './subject.ts';
import { type Listening, messageIdHeader, type Outgoing, type SendResult, type Wire, type WireMessage } from './wire.ts';

/** Subjects whose listeners are remembered; at the limit all are forgotten and found again. */
const maxRoutes = 10_000;

interface Listener {
  readonly pattern: string;
  readonly group: string | undefined;
  readonly node: Node;
  readonly receive: (message: WireMessage) => void;
}

/** One connection. */
interface Node {
  state: 'connected' | 'cut' | 'closed';
  readonly waiting: Outgoing[];
  waitingBytes: number;
  readonly onReconnect: Set<() => void>;
}

export interface MemoryWires {
  connect(identity: string): Wire;
  setConnected(identity: string, connected: boolean): void;
}

export function createMemoryWires(clock: Clock): MemoryWires {
  const listeners = new Set<Listener>();
  const routes = new Map<string, Listener[]>();
  const nodes = new Map<string, Set<Node>>();
  /** Whose turn it is, by group: members share evenly. */
  const turns = new Map<string, number>();
  const log = createMemoryLog(clock);
  let inboxes = 0;

  function route(message: Outgoing): void {
    log.store(message);
    const receivers = receiversOf(message.subject);
    const received = { subject: message.subject, reply: message.reply ?? '', headers: message.headers, data: message.data, noResponders: false };
    for (const receiver of receivers) hand(receiver, received);
    if (receivers.length > 0 || received.reply === '') return;
    const nobody = { subject: received.reply, reply: '', headers: undefined, data: new Uint8Array(), noResponders: true };
    for (const asker of receiversOf(received.reply)) hand(asker, nobody);
  }

  function hand(listener: Listener, message: WireMessage): void {
    queueMicrotask(() => {
      if (listeners.has(listener) && listener.node.state === 'connected') listener.receive(message);
    });
  }

  function receiversOf(subject: string): Listener[] {
    let matching = routes.get(subject);
    if (!matching) {
      matching = [...listeners].filter((listener) => matches(listener.pattern, subject));
      if (routes.size >= maxRoutes) routes.clear();
      routes.set(subject, matching);
    }
    const receivers: Listener[] = [];
    const groups = new Map<string, Listener[]>();
    for (const listener of matching) {
      if (listener.node.state !== 'connected') continue;
      if (listener.group === undefined) receivers.push(listener);
      else groups.set(listener.group, [...(groups.get(listener.group) ?? []), listener]);
    }
    for (const [group, members] of groups) {
      const turn = turns.get(group) ?? 0;
      turns.set(group, turn + 1);
      receivers.push(members[turn % members.length]!);
    }
    return receivers;
  }

  function send(node: Node, message: Outgoing): SendResult {
    if (node.state === 'closed') return 'closed';
    if (message.data.length > maxMessageBytes) return 'too_large';
    if (node.state === 'connected') {
      route(message);
      return 'sent';
    }
    if (node.waiting.length >= maxBufferedMessages || node.waitingBytes + message.data.length > maxBufferedBytes) return 'buffer_full';
    node.waiting.push(message);
    node.waitingBytes += message.data.length;
    return 'sent';
  }

  function listen(listener: Listener): Listening {
    listeners.add(listener);
    routes.clear();
    return {
      async stop() {
        // What was sent before the stop is still received.
        await Promise.resolve();
        listeners.delete(listener);
        routes.clear();
      },
    };
  }

  async function whenConnected(node: Node, untilMs: number): Promise<void> {
    if (node.state === 'connected') return;
    await new Promise<void>((resolve, reject) => {
      const connected = () => {
        cancel();
        node.onReconnect.delete(connected);
        resolve();
      };
      const cancel = clock.after(untilMs - clock.now(), () => {
        node.onReconnect.delete(connected);
        reject(new SwitchyardError('bus_unavailable', 'the bus is not connected'));
      });
      node.onReconnect.add(connected);
    });
  }

  function connect(identity: string): Wire {
    const node: Node = { state: 'connected', waiting: [], waitingBytes: 0, onReconnect: new Set() };
    const siblings = nodes.get(identity) ?? new Set();
    nodes.set(identity, siblings.add(node));
    return {
      inbox: `_INBOX.${inboxes++}`,
      connected: () => node.state === 'connected',
      send: (message) => send(node, message),
      listen: (pattern, group, receive) => listen({ pattern, group, node, receive }),
      onReconnect(run) {
        node.onReconnect.add(run);
        return () => node.onReconnect.delete(run);
      },
      async close() {
        node.state = 'closed';
        siblings.delete(node);
        for (const listener of listeners) if (listener.node === node) listeners.delete(listener);
        routes.clear();
      },
      log: {
        async append(spec, entry, { id, timeoutMs }) {
          log.declare(spec);
          await Promise.resolve();
          await whenConnected(node, clock.now() + timeoutMs);
          const sent = send(node, { ...entry, headers: { ...entry.headers, [messageIdHeader]: id } });
          if (sent !== 'sent') throw new SwitchyardError('bus_unavailable', `message for ${entry.subject} was not recorded: ${sent}`);
        },
        async consume(spec, durable, consumption) {
          return log.consume(spec, durable, () => node.state === 'connected', consumption);
        },
        async newest(spec, limit) {
          if (node.state !== 'connected') throw new SwitchyardError('bus_unavailable', `not connected, ${spec.stream} was not read`);
          return log.newest(spec, limit);
        },
        async since(spec, sinceMs, limit) {
          if (node.state !== 'connected') throw new SwitchyardError('bus_unavailable', `not connected, ${spec.stream} was not read`);
          return log.since(spec, sinceMs, limit);
        },
      },
    };
  }

  function setConnected(identity: string, connected: boolean): void {
    for (const node of nodes.get(identity) ?? []) {
      if (!connected) node.state = 'cut';
      else if (node.state === 'cut') {
        node.state = 'connected';
        node.waitingBytes = 0;
        for (const message of node.waiting.splice(0)) route(message);
        for (const run of [...node.onReconnect]) run();
        log.resume();
      }
    }
  }

  return { connect, setConnected };
}
