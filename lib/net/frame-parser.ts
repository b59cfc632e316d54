// Cuts a byte stream into frames: four bytes of length (big endian), then the frame. Each frame's bytes are copied once.

export interface FrameParser {
  /** Calls `emit` for each frame that is complete. @throws Error for a frame above the limit; nothing after it is read */
  push(chunk: Uint8Array): void;
}

export const lengthBytes = 4;

export function createFrameParser(maxFrameBytes: () => number, emit: (frame: Uint8Array) => void): FrameParser {
  const header = new Uint8Array(lengthBytes);
  let headerFilled = 0;
  let frame: Uint8Array | undefined;
  let filled = 0;

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
          // Not cleared first: it is only let out when all of it has been written.
          frame = Buffer.allocUnsafeSlow(length);
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
