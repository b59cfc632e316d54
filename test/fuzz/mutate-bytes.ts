// Changes bytes blindly: what a broken sender or a bad wire would do.
import type { Chooser } from './chooser.ts';

/** A changed copy; `others` lend pieces. */
export function mutateBytes(bytes: Uint8Array, others: readonly Uint8Array[], chooser: Chooser): Uint8Array {
  let changed = Uint8Array.from(bytes);
  for (let times = 1 + chooser.int(3); times > 0; times--) changed = changeOnce(changed, others, chooser);
  return changed;
}

function changeOnce(bytes: Uint8Array, others: readonly Uint8Array[], chooser: Chooser): Uint8Array<ArrayBuffer> {
  const at = chooser.int(bytes.length + 1);
  switch (chooser.int(7)) {
    case 0: {
      const flipped = Uint8Array.from(bytes);
      if (at < flipped.length) flipped[at] = flipped[at]! ^ (1 << chooser.int(8));
      return flipped;
    }
    case 1: {
      const set = Uint8Array.from(bytes);
      if (at < set.length) set[at] = chooser.pick([0, 0x7f, 0x80, 0xff, 0x22, 0x7b, chooser.int(256)]);
      return set;
    }
    case 2:
      return bytes.slice(0, at);
    case 3:
      return join(bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + chooser.length(64))));
    case 4:
      return join(bytes.subarray(0, at), chooser.bytes(chooser.length(64)), bytes.subarray(at));
    case 5: {
      const piece = bytes.subarray(at, at + chooser.length(64));
      return join(bytes.subarray(0, at), ...Array.from({ length: chooser.length(20) }, () => piece), bytes.subarray(at));
    }
    default: {
      const other = others.length > 0 ? chooser.pick(others) : bytes;
      const from = chooser.int(other.length + 1);
      return join(bytes.subarray(0, at), other.subarray(from, from + chooser.length(4096)));
    }
  }
}

export function join(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
