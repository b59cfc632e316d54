// Follows the KV events of one engine: subscribes, puts them in order, asks for what is missing, and keeps the index of the blocks
// that the engine has cached.
import type { Cancel, Clock } from '../../../ports/clock.ts';
import type { ZmqSocket, ZmqSocketOptions } from '../../../zmq/zmq-socket.ts';
import type { ZmqMessage } from '../../../zmq/zmtp.ts';
import { BlockIndex } from './block-index.ts';
import { EventOrder, type OrderAction } from './event-order.ts';
import { type KvEvent, readKvEvents } from './kv-event.ts';

export interface KvEventStreamOptions {
  /** tcp://host:port of an engine that binds; tcp://*:port waits for one that connects. */
  readonly events: string;
  /** Of what repeats events; undefined: nothing does. */
  readonly replay: string | undefined;
  readonly clock: Clock;
  readonly open: (options: ZmqSocketOptions) => ZmqSocket;
  /** Blocks have come or gone. */
  readonly onChange: () => void;
  /** The connection to the engine's events is up, or why it is not. */
  readonly onConnection: (why: string | undefined) => void;
}

export interface KvEventStream {
  readonly blocks: BlockIndex;
  /** Batches applied, asked for again, and lost for good. */
  readonly counts: { readonly applied: number; readonly replays: number; readonly lost: number; readonly unreadable: number };
  close(): void;
}

/** A replay that takes longer is given up. */
const replayTimeoutMs = 5_000;
/** Ends a replay in the place of a number. */
const endOfReplay = 0xffff_ffff_ffff_ffffn;

export function followKvEvents(options: KvEventStreamOptions): KvEventStream {
  const { clock } = options;
  const blocks = new BlockIndex();
  const order = new EventOrder({ canReplay: options.replay !== undefined });
  const counts = { applied: 0, replays: 0, lost: 0, unreadable: 0 };
  let cancelReplay: Cancel = () => {};

  function take(action: OrderAction, payload: Uint8Array): void {
    if (action === 'ignore') return;
    if (action === 'forget_and_apply') forget();
    let events: readonly KvEvent[];
    try {
      events = readKvEvents(payload);
    } catch {
      counts.unreadable += 1;
      return;
    }
    counts.applied += 1;
    for (const event of events) blocks.apply(event);
    options.onChange();
  }

  function forget(): void {
    counts.lost += 1;
    blocks.clear();
    options.onChange();
  }

  function askForMissing(from = order.wanted()): void {
    if (from === undefined || !dealer) return;
    counts.replays += 1;
    const number = Buffer.alloc(8);
    number.writeBigUInt64BE(BigInt(from));
    dealer.send([new Uint8Array(0), number]);
    cancelReplay();
    cancelReplay = clock.after(replayTimeoutMs, replayEnded);
  }

  function replayEnded(): void {
    cancelReplay();
    if (order.replayEnded()) forget();
    askForMissing();
  }

  const dealer =
    options.replay === undefined
      ? undefined
      : options.open({
          ...{ type: 'DEALER', endpoint: options.replay, clock },
          // Whatever was published before we came.
          onUp: () => askForMissing(0),
          onMessage(message) {
            const [, , number, payload] = message;
            if (number?.length !== 8 || !payload) return;
            const sequence = Buffer.from(number).readBigUInt64BE();
            if (sequence === endOfReplay) replayEnded();
            else take(order.replayed(Number(sequence)), payload);
          },
        });
  const subscriber = options.open({
    ...{ type: 'SUB', endpoint: options.events, clock },
    onUp() {
      order.connected();
      blocks.clear();
      options.onChange();
      options.onConnection(undefined);
      askForMissing(dealer && 0);
    },
    onDown: (why) => options.onConnection(why),
    onMessage: (message: ZmqMessage) => {
      const [, number, payload] = message;
      if (number?.length !== 8 || !payload) return;
      take(order.published(Number(Buffer.from(number).readBigUInt64BE())), payload);
      askForMissing();
    },
  });

  return {
    blocks,
    counts,
    close() {
      cancelReplay();
      subscriber.close();
      dealer?.close();
    },
  };
}
