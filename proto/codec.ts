// A codec turns one kind of message into bytes and back. Decoded messages are plain objects with every scalar present
// (proto3 defaults), so that they can be spread, compared and logged.
import type protobuf from 'protobufjs';

export interface Codec<T> {
  readonly name: string;
  encode(message: T): Uint8Array;
  /** @throws when the bytes are not this message */
  decode(bytes: Uint8Array): T;
}

interface StaticType {
  encode(message: object): protobuf.Writer;
  decode(bytes: Uint8Array): object;
  toObject(message: object, options: protobuf.IConversionOptions): object;
}

const plain: protobuf.IConversionOptions = { defaults: true, arrays: true, longs: Number };

export function codec<T>(name: string, type: StaticType): Codec<T> {
  return {
    name,
    encode: (message) => type.encode(message as object).finish(),
    decode: (bytes) => type.toObject(type.decode(bytes), plain) as T,
  };
}
