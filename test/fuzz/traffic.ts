// What services say to each other while a fleet works, as bytes: the valid messages that a fuzzer starts from.
import type { Bus } from '../../lib/ports/bus.ts';
import type { Connection, Net } from '../../lib/ports/net.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { KvFrame } from '../../proto/gen/messages.ts';

/** Messages kept of each kind. Later ones replace random earlier places in turn. */
const maxKept = 40;

export class Traffic {
  readonly #byKind = new Map<string, Uint8Array[]>();
  #turn = 0;

  /** `kind` is a subject's pattern, or link/to-agent, link/to-gateway, kv/to-target, kv/last-commit, kv/to-source. */
  of(kind: string): readonly Uint8Array[] {
    return this.#byKind.get(kind) ?? [];
  }

  get all(): Uint8Array[] {
    return [...this.#byKind.values()].flat();
  }

  kinds(): string[] {
    return [...this.#byKind.keys()];
  }

  add(kind: string, bytes: Uint8Array): void {
    const kept = this.#byKind.get(kind) ?? [];
    this.#byKind.set(kind, kept);
    if (kept.length < maxKept) kept.push(bytes.slice());
    else kept[this.#turn++ % maxKept] = bytes.slice();
  }

  /** The same ports; what goes through them is kept. */
  tapped(ports: Ports): Ports {
    return { ...ports, bus: this.#tappedBus(ports), net: this.#tappedNet(ports.net) };
  }

  #tappedBus({ bus, identity }: Ports): Bus {
    const keep = (pattern: string, codec: { encode(message: never): Uint8Array }, body: object) => {
      const meta = { id: 'm-1', deadlineMs: 0, sentAtMs: 0, sender: identity.id };
      this.add(pattern, codec.encode({ ...body, meta } as never));
    };
    return {
      ...bus,
      publish(topic, keys, message, options) {
        keep(topic.pattern, topic.message, message);
        bus.publish(topic, keys, message, options);
      },
      record(topic, keys, message, options) {
        keep(topic.pattern, topic.message, message);
        return bus.record(topic, keys, message, options);
      },
      request(rpc, keys, question, options) {
        keep(rpc.pattern, rpc.question, question);
        return bus.request(rpc, keys, question, options);
      },
      gather(rpc, keys, question, options) {
        keep(rpc.pattern, rpc.question, question);
        return bus.gather(rpc, keys, question, options);
      },
    };
  }

  #tappedNet(net: Net): Net {
    const tap = (connection: Connection, kind: string): Connection =>
      new Proxy(connection, {
        get: (target, name) => {
          const member = Reflect.get(target, name);
          if (name !== 'send') return typeof member === 'function' ? member.bind(target) : member;
          return (head: Uint8Array, tail?: Uint8Array) => {
            const frame = tail ? Buffer.concat([head, tail]) : head;
            this.add(kind, frame);
            if (kind === 'kv/to-target' && KvFrame.decode(frame).commit?.last) this.add('kv/last-commit', frame);
            target.send(frame);
          };
        },
      });
    return {
      listen: (kind, options, onConnection) =>
        net.listen(kind, options, (connection) => onConnection(tap(connection, kind === 'link' ? 'link/to-gateway' : 'kv/to-source'))),
      connect: async (address, options) => tap(await net.connect(address, options), address.startsWith('ws:') ? 'link/to-agent' : 'kv/to-target'),
    };
  }
}
