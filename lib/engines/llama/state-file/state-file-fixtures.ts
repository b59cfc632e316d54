// State files for tests, written by the layout and not by the reader's code.
import type { StateShape } from './state-file.ts';

export interface MadeState {
  readonly tokenIds: readonly number[];
  readonly streams?: number;
  /** Which stream has the cells. */
  readonly stream?: number;
  /** Default: in order. */
  readonly positions?: readonly number[];
  readonly shape?: Partial<StateShape>;
  readonly magic?: number;
  readonly version?: number;
  /** What the file says; default: what is so. */
  readonly tokenCount?: number;
  readonly cellCount?: number;
  readonly sequencesOfCell?: number;
}

export const madeShape: StateShape = { layers: 2, kType: 1, vType: 1, kCellBytes: 12, vCellBytes: 8, vTransposed: true };

export function makeState(made: MadeState): Uint8Array {
  const { tokenIds, streams = 2, stream = 0, positions = tokenIds.map((_, index) => index) } = made;
  const shape = { ...madeShape, ...made.shape };
  const out: number[] = [];
  const uint32 = (value: number) => out.push(value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24);
  let kv = 7;
  const rows = (bytes: number) => {
    for (let n = 0; n < bytes; n++) {
      kv = (kv * 31 + 11) & 255;
      out.push(kv);
    }
  };
  uint32(made.magic ?? 0x67677371);
  uint32(made.version ?? 3);
  uint32(made.tokenCount ?? tokenIds.length);
  for (const id of tokenIds) uint32(id);
  uint32(streams);
  for (let index = 0; index < streams; index++) {
    if (index !== stream) {
      uint32(0);
      continue;
    }
    uint32(made.cellCount ?? positions.length);
    for (const position of positions) {
      uint32(position);
      uint32(made.sequencesOfCell ?? 1);
      uint32(stream);
    }
    uint32(shape.vTransposed ? 1 : 0);
    uint32(shape.layers);
    for (let layer = 0; layer < shape.layers; layer++) {
      uint32(shape.kType);
      uint32(shape.kCellBytes);
      uint32(0);
      rows(shape.kCellBytes * positions.length);
    }
    for (let layer = 0; layer < shape.layers; layer++) {
      uint32(shape.vType);
      uint32(shape.vTransposed ? 2 : shape.vCellBytes);
      uint32(shape.vTransposed ? shape.vCellBytes / 2 : 0);
      rows(shape.vCellBytes * positions.length);
    }
  }
  return Uint8Array.from(out);
}
