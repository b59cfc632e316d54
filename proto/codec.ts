// A codec turns one kind of message into bytes and back. Decoded messages are plain objects with every scalar present
// (proto3 defaults), so that they can be spread, compared and logged.
import type protobuf from 'protobufjs';
import wire from 'protobufjs/minimal.js';

export interface Codec<T> {
  readonly name: string;
  encode(message: T): Uint8Array;
  /** @throws when the bytes are not this message, or a number in them is not finite: no field means anything by that */
  decode(bytes: Uint8Array): T;
}

export type Write = (writer: protobuf.Writer, message: never) => protobuf.Writer;
/** Reads until the reader's end, into `target` where there is one already. */
export type Read = (reader: protobuf.Reader, target?: never) => object;

class Reader extends wire.Reader {
  override double(): number {
    return finite(super.double());
  }
}

/** Reads texts out of Buffers faster. */
class BufferReader extends wire.BufferReader {
  override double(): number {
    return finite(super.double());
  }
}

/** A time that is not a number would make timers that never end, and sums that never recover. */
function finite(value: number): number {
  if (!Number.isFinite(value)) throw new RangeError(`a number is ${value}`);
  return value;
}

export function codec<T>(name: string, write: Write, read: Read): Codec<T> {
  return {
    name,
    encode: (message) => write(wire.Writer.create(), message as never).finish(),
    decode: (bytes) => read(Buffer.isBuffer(bytes) ? new BufferReader(bytes) : new Reader(bytes)) as T,
  };
}
