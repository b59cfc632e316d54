// Between the stages of a migration whose state the target follows: every token of the source goes over at once, so that at the
// last stage next to nothing is left to compute. Best effort: what is lost here comes with the last stage. A stage without blocks is
// committed here too, behind the tokens: new connections would cost a sequence that stands still three more round trips.
import { KvFrame, type KvResult } from '../../proto/gen/messages.ts';
import type { Clock } from '../ports/clock.ts';
import type { StageSource } from '../ports/engines.ts';
import type { Connection, Net } from '../ports/net.ts';
import { tailCrc } from './kv-checks.ts';
import { commitFrame } from './kv-commit.ts';
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

export interface Tail {
  readonly reservationId: string;
  /**
   * Asks the target to put a stage in place whose blocks it has. Undefined: it cannot be asked here, or its answer was lost; any other
   * connection may repeat the question.
   */
  commit(stage: Parameters<typeof commitFrame>[0]): Promise<KvResult | undefined>;
  end(): void;
}

/** Begins to send. Nothing that fails here is told to anybody. */
export function sendTail(options: TailOptions): Tail {
  const { source, reservationId, transferToken, traceparent } = options;
  let connection: Connection | undefined;
  let stopListening = () => {};
  let over = false;
  let joined = false;
  /** While a stage is being committed here. */
  let answered: ((result: KvResult | undefined) => void) | undefined;
  const cancelLimit = options.clock.after(longestTailMs, () => end());

  function end(): void {
    over = true;
    cancelLimit();
    stopListening();
    connection?.close();
    answered?.(undefined);
  }

  function begin(opened: Connection): void {
    connection = opened;
    if (over) {
      opened.close();
      return;
    }
    opened.onClose(end);
    opened.onFrame((bytes) => {
      const { have, result } = read(bytes);
      if (result) answered?.(result);
      else if (!have || have.refusal) end();
      else if (!joined) {
        joined = true;
        stopListening = source.tail?.(send) ?? (() => {});
      }
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
  return {
    reservationId,
    end,
    commit(stage) {
      // Answers have no numbers: one question at a time.
      if (over || !joined || answered) return Promise.resolve(undefined);
      return new Promise((resolve) => {
        const cancel = options.clock.after(timeoutMs, end);
        answered = (result) => {
          cancel();
          answered = undefined;
          resolve(result);
        };
        connection!.send(commitFrame(stage));
      });
    },
  };
}

/** Empty: it is none of the target's frames. */
function read(bytes: Uint8Array): Partial<Pick<KvFrame, 'have' | 'result'>> {
  try {
    return KvFrame.decode(bytes);
  } catch {
    return {};
  }
}
