// Streams of one link whose clients wait for the whole answer: their tokens travel together, for each message about them costs
// the gateway as much as a token that a client sees. The first token goes at once, so that it is known that the stream runs; what
// is held back when the agent dies is computed again elsewhere.
import { ChurnMap } from '../../core/collections/churn-map.ts';
import type { StreamEvent } from '../../proto/gen/messages.ts';

/** Tokens of a stream that are held back at most. */
const maxTokens = 32;

interface Quiet {
  instanceId: string;
  begun: boolean;
  /** Tokens held back, as one event. */
  held: StreamEvent | undefined;
}

export class QuietStreams {
  readonly #streams = new ChurnMap<number, Quiet>();
  #holding = 0;

  /** Whether anything is held back. */
  get holding(): boolean {
    return this.#holding > 0;
  }

  begin(stream: number): void {
    this.#streams.set(stream, { instanceId: '', begun: false, held: undefined });
  }

  /** What is held back of it is not sent any more. */
  forget(stream: number): void {
    const quiet = this.#streams.get(stream);
    if (!quiet) return;
    this.#release(quiet);
    this.#streams.delete(stream);
  }

  /** Those of the events that are to be sent now, in their order, with what was held back before them. */
  pass(instanceId: string, events: readonly StreamEvent[]): readonly StreamEvent[] {
    if (this.#streams.size === 0) return events;
    const now: StreamEvent[] = [];
    for (const event of events) {
      const quiet = this.#streams.get(event.stream);
      if (!quiet) {
        now.push(event);
        continue;
      }
      quiet.instanceId = instanceId;
      const ends = event.finishReason !== '' || event.error;
      if (!ends && quiet.begun && event.tokenIds.length > 0) this.#hold(quiet, event, now);
      else now.push(...this.#withHeld(quiet, event));
      quiet.begun ||= event.tokenIds.length > 0;
      if (ends) this.#streams.delete(event.stream);
    }
    return now;
  }

  /** Everything that is held back, by instance. */
  release(): ReadonlyMap<string, StreamEvent[]> {
    const released = new Map<string, StreamEvent[]>();
    for (const quiet of this.#streams.values()) {
      const event = this.#release(quiet);
      if (event) released.set(quiet.instanceId, [...(released.get(quiet.instanceId) ?? []), event]);
    }
    return released;
  }

  #hold(quiet: Quiet, event: StreamEvent, now: StreamEvent[]): void {
    const { held } = quiet;
    if (!held) {
      quiet.held = event;
      this.#holding += 1;
    } else if (follows(held, event)) quiet.held = joined(held, event);
    else {
      now.push(held);
      quiet.held = event;
    }
    if (quiet.held!.tokenIds.length >= maxTokens) now.push(this.#release(quiet)!);
  }

  #withHeld(quiet: Quiet, event: StreamEvent): StreamEvent[] {
    const held = this.#release(quiet);
    if (!held) return [event];
    return !event.error && follows(held, event) ? [joined(held, event)] : [held, event];
  }

  #release(quiet: Quiet): StreamEvent | undefined {
    const { held } = quiet;
    if (held) this.#holding -= 1;
    quiet.held = undefined;
    return held;
  }
}

function follows(held: StreamEvent, event: StreamEvent): boolean {
  return held.epoch === event.epoch && held.index + held.tokenIds.length === event.index;
}

function joined(held: StreamEvent, event: StreamEvent): StreamEvent {
  return { ...event, index: held.index, tokenIds: [...held.tokenIds, ...event.tokenIds], text: held.text + event.text };
}
