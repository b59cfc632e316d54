// Token links: gateways connect, open and cancel streams, and get one frame per engine step. A gateway that reads slowly
// has its sequences held; one that does not read at all loses its link.
import { refusal } from '../../core/errors/switchyard-error.ts';
import type { Connection, Listener } from '../../lib/ports/net.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { type CancelStream, LinkFrame, type OpenStream, type StreamEvent } from '../../proto/gen/messages.ts';
import type { AgentConfig } from './config.ts';
import { QuietStreams } from './quiet-streams.ts';

export interface LinkHandlers {
  /** False: there is no such instance here. */
  readonly open: (link: number, open: OpenStream) => boolean;
  readonly cancel: (link: number, cancel: CancelStream) => void;
  readonly closed: (link: number) => void;
  /** The reader of a link has become slow, or keeps up again. */
  readonly hold: (link: number, held: boolean) => void;
}

export interface Links {
  readonly address: string;
  send(link: number, instanceId: string, events: readonly StreamEvent[]): void;
  isHeld(link: number): boolean;
  close(): Promise<void>;
}

interface Link {
  readonly connection: Connection;
  greeted: boolean;
  held: boolean;
  readonly quiet: QuietStreams;
}

const protocol = 1;
/** A connection that does not say hello is closed. */
const helloWithinMs = 5000;
/** Tokens for clients that do not stream wait this long for each other. */
const gatherMs = 100;
const noBytes = new Uint8Array(0);

/** @throws SwitchyardError `port_taken` */
export async function serveLinks(config: AgentConfig, ports: Ports, handlers: LinkHandlers): Promise<Links> {
  const { clock, identity, telemetry } = ports;
  const links = new Map<number, Link>();
  let lastId = 0;

  function accept(connection: Connection): void {
    if (links.size >= config.maxLinks) {
      telemetry.log.warn('token link refused, there are too many', { links: links.size });
      connection.close();
      return;
    }
    const id = ++lastId;
    const link: Link = { connection, greeted: false, held: false, quiet: new QuietStreams() };
    links.set(id, link);
    const cancelHello = clock.after(helloWithinMs, () => connection.close());
    connection.onClose(() => {
      cancelHello();
      links.delete(id);
      handlers.closed(id);
    });
    connection.onFrame((bytes) => {
      let frame: LinkFrame;
      try {
        frame = LinkFrame.decode(bytes);
      } catch (thrown) {
        telemetry.log.warn('a token link carried something else', { remote: connection.remote, error: String(thrown) });
        connection.close();
        return;
      }
      if (!link.greeted) {
        cancelHello();
        if (frame.hello?.protocol !== protocol) {
          connection.close();
          return;
        }
        link.greeted = true;
        connection.send(LinkFrame.encode({ hello: { id: identity.id, protocol } }));
      } else if (frame.open) {
        if (!frame.open.clientStreams) link.quiet.begin(frame.open.stream);
        if (!handlers.open(id, frame.open)) refuse(id, frame.open);
      } else if (frame.cancel) {
        link.quiet.forget(frame.cancel.stream);
        handlers.cancel(id, frame.cancel);
      }
    });
  }

  /** The instance was here, or its address is out of date: the gateway asks for another one. */
  function refuse(id: number, { instanceId, stream, epoch }: OpenStream): void {
    const error = refusal('no_instance', `instance ${instanceId} does not run here`);
    send(id, instanceId, [{ stream, epoch, index: 0, tokenIds: [], text: '', data: noBytes, finishReason: '', finalBody: noBytes, error }]);
  }

  function send(id: number, instanceId: string, events: readonly StreamEvent[]): void {
    const link = links.get(id);
    if (!link) return;
    const held = link.quiet.holding;
    const now = link.quiet.pass(instanceId, events);
    if (now.length > 0) put(id, link, instanceId, now);
    if (!held && link.quiet.holding) clock.after(gatherMs, () => release(id));
  }

  function release(id: number): void {
    const link = links.get(id);
    if (link) for (const [instanceId, events] of link.quiet.release()) put(id, link, instanceId, events);
  }

  function put(id: number, link: Link, instanceId: string, events: readonly StreamEvent[]): void {
    link.connection.send(LinkFrame.encode({ step: { instanceId, events } }));
    if (!link.held && link.connection.buffered() > config.linkBufferBytes) void hold(id, link);
  }

  async function hold(id: number, link: Link): Promise<void> {
    link.held = true;
    handlers.hold(id, true);
    const cancel = clock.after(config.stuckLinkMs, () => {
      telemetry.log.warn('token link closed, it is not read', { remote: link.connection.remote, bufferedBytes: link.connection.buffered() });
      link.connection.close();
    });
    await link.connection.drained(config.linkBufferBytes / 4);
    cancel();
    link.held = false;
    if (links.has(id)) handlers.hold(id, false);
  }

  const listener: Listener = await ports.net.listen(
    'link',
    { host: config.host, port: config.linkPort, maxFrameBytes: config.maxFrameBytes },
    accept,
  );
  return {
    address: listener.address,
    send,
    isHeld: (id) => links.get(id)?.held ?? false,
    close: () => listener.close(),
  };
}
