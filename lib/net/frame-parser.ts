// Cuts a byte stream into frames: four bytes of length (big endian), then the frame. Each frame's bytes are copied once, into
// memory that the next frame uses again.

export interface FrameParser {
  /** Calls `emit` for each frame that is complete; its bytes are good until `emit` returns. @throws Error for a frame above the limit; nothing after it is read */
  push(chunk: Uint8Array): void;
}

export const lengthBytes = 4;
/** Larger frames, which are few, get memory of their own. */
const keptBytes = 1024 * 1024;

export function createFrameParser(maxFrameBytes: () => number, emit: (frame: Uint8Array) => void): FrameParser {
  const header = new Uint8Array(lengthBytes);
  let headerFilled = 0;
  let frame: Uint8Array | undefined;
  let filled = 0;
  let kept = new Uint8Array(0);

  /** Not cleared first: it is only let out when all of it has been written. */
  function memoryOf(length: number): Uint8Array {
    if (length > keptBytes) return Buffer.allocUnsafeSlow(length);
    if (kept.length < length) kept = Buffer.allocUnsafeSlow(Math.min(keptBytes, Math.max(length, 2 * kept.length)));
    return kept.subarray(0, length);
  }

  return {
    push(chunk) {
      let at = 0;
      while (at < chunk.length || frame?.length === 0) {
        if (!frame) {
          const part = Math.min(lengthBytes - headerFilled, chunk.length - at);
          header.set(chunk.subarray(at, at + part), headerFilled);
          headerFilled += part;
          at += part;
          if (headerFilled < lengthBytes) return;
          const length = new DataView(header.buffer).getUint32(0);
          if (length > maxFrameBytes()) throw new Error('frame too large');
          frame = memoryOf(length);
          filled = 0;
          headerFilled = 0;
        }
        const part = Math.min(frame.length - filled, chunk.length - at);
        frame.set(chunk.subarray(at, at + part), filled);
        filled += part;
        at += part;
        if (filled < frame.length) return;
        const complete = frame;
        frame = undefined;
        emit(complete);
      }
    },
  };
}
