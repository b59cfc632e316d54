// The frame that opens a stream. A large body stays the client's own bytes: it travels as the tail of the frame, and what comes
// before it says how long it is. On the wire it is a LinkFrame like any other.
import protobuf from 'protobufjs/minimal.js';
import { LinkFrame, OpenStream } from '../../proto/gen/messages.ts';

export interface OutgoingFrame {
  readonly head: Uint8Array;
  readonly tail: Uint8Array | undefined;
}

/** A smaller body is copied into its frame: two pieces cost more. */
const copiedBytes = 16_384;
/** Fields of LinkFrame and OpenStream, as link.proto numbers them, both length-delimited. */
const openTag = (2 << 3) | 2;
const bodyTag = (6 << 3) | 2;
const noBytes = new Uint8Array();

export function openFrame(open: OpenStream): OutgoingFrame {
  const { body } = open;
  if (body.length < copiedBytes) return { head: LinkFrame.encode({ open }), tail: undefined };
  const facts = OpenStream.encode({ ...open, body: noBytes });
  const bodyHead = protobuf.Writer.create().uint32(bodyTag).uint32(body.length).finish();
  const frameHead = protobuf.Writer.create()
    .uint32(openTag)
    .uint32(facts.length + bodyHead.length + body.length)
    .finish();
  return { head: Buffer.concat([frameHead, facts, bodyHead]), tail: body };
}
