// A protobuf frame whose largest field stays where it is: it travels as the tail of the frame, and what comes before it says how
// long it is. On the wire it is a message like any other.
import protobuf from 'protobufjs/minimal.js';

export interface TailFrame {
  readonly head: Uint8Array;
  readonly tail: Uint8Array;
}

/** `inner` is the message without the field `tailField`, and is itself the field `innerField` of the frame. Both are numbers out of the .proto. */
export function tailFrame(innerField: number, inner: Uint8Array, tailField: number, tail: Uint8Array): TailFrame {
  const tailHead = protobuf.Writer.create().uint32(lengthDelimited(tailField)).uint32(tail.length).finish();
  const frameHead = protobuf.Writer.create()
    .uint32(lengthDelimited(innerField))
    .uint32(inner.length + tailHead.length + tail.length)
    .finish();
  return { head: Buffer.concat([frameHead, inner, tailHead]), tail };
}

function lengthDelimited(field: number): number {
  return (field << 3) | 2;
}
