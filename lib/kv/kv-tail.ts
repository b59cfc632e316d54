// Between the stages of a migration whose state the target follows: every token of the source goes over at once, so that at the
// last stage next to nothing is left to compute. Best effort: what is lost here comes with the last stage.
import { KvFrame } from '../../proto/gen/messages.ts';
import type { Clock } from '../ports/clock.ts';
import type { StageSource } from '../ports/engines.ts';
import type { Connection, Net } from '../ports/net.ts';
import { tailCrc } from './kv-checks.ts';
import { maxKvFrameBytes } from './kv-receiver.ts';

export interface TailOptions {
  readonly net: Net;
  readonly clock: Clock;
  readonly source: StageSource;
  readonly address: string;
  readonly reservationId: string;
  readonly transferToken: string;
  readonly timeoutMs: number;
  readonly traceparent: string;
}

/** No stage has this number. */
export const tailStage = 0xffff_ffff;
/** A tail that nobody ends: its migration was given up, or takes too long to be worth it. */
const longestTailMs = 120_000;
/** Unsent bytes at which tokens are left out. */
const maxBufferedBytes = 65_536;

/** Begins to send; the returned function ends it. Nothing that fails here is told to anybody. */
export function sendTail(options: TailOptions): () => void {
  const { source, reservationId, transferToken, traceparent } = options;
  let connection: Connection | undefined;
  let stopListening = () => {};
  let over = false;
  const cancelLimit = options.clock.after(longestTailMs, () => end());

  function end(): void {
    over = true;
    cancelLimit();
    stopListening();
    connection?.close();
  }

  function begin(opened: Connection): void {
    connection = opened;
    if (over) {
      opened.close();
      return;
    }
    opened.onClose(end);
    opened.onFrame((bytes) => {
      if (readHave(bytes)) stopListening = source.tail?.(send) ?? (() => {});
      else end();
    });
    opened.send(KvFrame.encode({ hello: { reservationId, transferToken, stage: tailStage, connection: 0, traceparent } }));
  }

  function send(firstIndex: number, tokenIds: readonly number[]): void {
    if (over || !connection || connection.buffered() > maxBufferedBytes) return;
    const tail = { firstIndex, tokenIds };
    connection.send(KvFrame.encode({ tail: { ...tail, crc: tailCrc(tail) } }));
  }

  const { timeoutMs } = options;
  options.net.connect(options.address, { timeoutMs, maxFrameBytes: maxKvFrameBytes }).then(begin, end);
  return end;
}

/** Whether the target lets us go on. */
function readHave(bytes: Uint8Array): boolean {
  try {
    const { have } = KvFrame.decode(bytes);
    return have !== undefined && have !== null && !have.refusal;
  } catch {
    return false;
  }
}
