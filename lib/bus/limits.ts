// Bounds of the bus, shared by the real one and its twin.

/** Larger messages are refused: `publish` drops and counts them, `request` and `record` throw. The server's max_payload is the same. */
export const maxMessageBytes = 1024 * 1024;
/** Published messages that wait while disconnected. Later ones are dropped and counted. */
export const maxBufferedMessages = 10_000;
export const maxBufferedBytes = 8 * 1024 * 1024;
/** Questions that wait for their answers. One more is refused with `bus_unavailable`. */
export const maxOpenRequests = 20_000;
/** Answers that one `gather` takes. Later ones are ignored. */
export const maxGathered = 10_000;
/** Default for how long a `gather` waits for somebody new, once all who answered the last time have. */
export const quietMs = 25;
/** Subjects of which a process remembers who answers. */
export const maxKnownResponders = 1_000;
/** `drain` waits this long for handlers, then closes. */
export const maxDrainMs = 10_000;

/** A recorded id is remembered this long: a second message with it is not stored. Longer than any `record` retries. */
export const recordedIdMs = 10 * 60_000;
/** Default for `record`. */
export const recordTimeoutMs = 10_000;
/** Recorded messages that one consumer handles at a time. */
export const maxConsuming = 64;
/**
 * A consumer that said nothing about a message for this long is taken for dead, and the message goes to another. A running
 * handler says three times as often that it is alive. It is also how long consumers may stand still after the server was
 * killed: it has forgotten the last acknowledgements and waits for them.
 */
export const acknowledgeWithinMs = 10_000;

/** Attempts at one recorded message. Then it is given up: counted, and logged as an error. With the delays below that is about an hour. */
export const maxDeliveries = 120;
const longestRedeliveryMs = 30_000;

/** Time from the failure of delivery `attempt` (1 is the first) to the next delivery. */
export function redeliveryDelayMs(attempt: number): number {
  return Math.min(longestRedeliveryMs, 100 * 2 ** Math.min(attempt - 1, 20));
}
