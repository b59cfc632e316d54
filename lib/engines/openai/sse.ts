// Server-sent events out of bytes as they come: an event may be split anywhere, and several may come at once. Its bytes stay as
// they were sent. Lines end with LF or CR LF; a lone CR, which no server of the kind sends, does not end one.

export interface SseEvent {
  /** All of it, the empty line behind it included. */
  readonly bytes: Buffer;
  /** Where its data stands in `bytes`; equal: it has none. Data of several lines is one line here, and `bytes` are made anew. */
  readonly dataStart: number;
  readonly dataEnd: number;
}

const lineFeed = 0x0a;
const carriageReturn = 0x0d;
const field = Buffer.from('data:');
const space = 0x20;
/** A first chunk may hold the ids of a long prompt. */
const maxEventBytes = 64 * 1024 * 1024;

export class SseParser {
  #held: Buffer[] = [];
  #heldBytes = 0;
  /** Of what is held: whether its last line is empty so far, not counting a CR. */
  #lineIsEmpty = true;

  /** The events that are whole now. @throws RangeError when one is too large */
  push(chunk: Uint8Array): SseEvent[] {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    const events: SseEvent[] = [];
    let start = 0;
    for (let at = 0; at < bytes.length; ) {
      const end = bytes.indexOf(lineFeed, at);
      if (end < 0) {
        if (!isOnlyReturn(bytes, at, bytes.length)) this.#lineIsEmpty = false;
        break;
      }
      const isEmpty = this.#lineIsEmpty && isOnlyReturn(bytes, at, end);
      this.#lineIsEmpty = true;
      at = end + 1;
      if (!isEmpty) continue;
      const whole = this.#taken(bytes.subarray(start, at));
      start = at;
      if (!whole.every((byte) => byte === lineFeed || byte === carriageReturn)) events.push(eventOf(whole));
    }
    if (start < bytes.length) {
      this.#held.push(bytes.subarray(start));
      this.#heldBytes += bytes.length - start;
      if (this.#heldBytes > maxEventBytes) throw new RangeError(`an event of more than ${maxEventBytes} bytes`);
    }
    return events;
  }

  /** What came after the last whole event. */
  get rest(): Buffer {
    return Buffer.concat(this.#held);
  }

  #taken(last: Buffer): Buffer {
    if (this.#held.length === 0) return last;
    const whole = Buffer.concat([...this.#held, last]);
    this.#held = [];
    this.#heldBytes = 0;
    return whole;
  }
}

function isOnlyReturn(bytes: Buffer, start: number, end: number): boolean {
  return start === end || (end - start === 1 && bytes[start] === carriageReturn);
}

function eventOf(bytes: Buffer): SseEvent {
  const data: { start: number; end: number }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const lineEnd = bytes.indexOf(lineFeed, at);
    const next = lineEnd + 1;
    if (bytes.compare(field, 0, field.length, at, Math.min(at + field.length, bytes.length)) === 0) {
      const start = at + field.length + (bytes[at + field.length] === space ? 1 : 0);
      data.push({ start, end: bytes[lineEnd - 1] === carriageReturn ? lineEnd - 1 : lineEnd });
    }
    at = next;
  }
  if (data.length === 0) return { bytes, dataStart: 0, dataEnd: 0 };
  if (data.length === 1) return { bytes, dataStart: data[0]!.start, dataEnd: data[0]!.end };
  // A line break in the data stands where JSON allows any space.
  const joined = Buffer.from(data.map(({ start, end }) => bytes.toString('utf8', start, end)).join(' '));
  const prefix = Buffer.from('data: ');
  return { bytes: Buffer.concat([prefix, joined, Buffer.from('\n\n')]), dataStart: prefix.length, dataEnd: prefix.length + joined.length };
}
