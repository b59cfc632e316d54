// The frame that opens a stream. A large body stays the client's own bytes.
import { tailFrame } from '../../lib/net/tail-frame.ts';
import { LinkFrame, OpenStream } from '../../proto/gen/messages.ts';

export interface OutgoingFrame {
  readonly head: Uint8Array;
  readonly tail: Uint8Array | undefined;
}

/** A smaller body is copied into its frame: two pieces cost more. */
const copiedBytes = 16_384;
/** Fields of LinkFrame and OpenStream, as link.proto numbers them. */
const openField = 2;
const bodyField = 6;
const noBytes = new Uint8Array();

export function openFrame(open: OpenStream): OutgoingFrame {
  const { body } = open;
  if (body.length < copiedBytes) return { head: LinkFrame.encode({ open }), tail: undefined };
  return tailFrame(openField, OpenStream.encode({ ...open, body: noBytes }), bodyField, body);
}
