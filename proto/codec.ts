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

interface StaticType {
  encode(message: object): protobuf.Writer;
  decode(reader: protobuf.Reader): object;
  toObject(message: object, options: protobuf.IConversionOptions): object;
}

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

const plain: protobuf.IConversionOptions = { defaults: true, arrays: true, longs: Number };

export function codec<T>(name: string, type: StaticType): Codec<T> {
  return {
    name,
    encode: (message) => type.encode(message as object).finish(),
    decode: (bytes) => type.toObject(type.decode(Buffer.isBuffer(bytes) ? new BufferReader(bytes) : new Reader(bytes)), plain) as T,
  };
}
