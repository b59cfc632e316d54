// A context reads only files that say as many streams as it has sequences. All but one stream are empty, so a file can be made
// to say another count.
import type { StateFile } from './state-file.ts';

/** The file for a context of `streams` sequences: the same bytes, or a copy. `state` is what readStateFile says of `bytes`. */
export function retargetStreams(bytes: Uint8Array, state: StateFile, streams: number): Uint8Array {
  if (state.streams === streams) return bytes;
  const cells = bytes.subarray(state.cellsAt, state.cellsEnd);
  const firstAt = state.streamsAt + 4;
  // An empty stream is a count of 0 cells.
  const file = new Uint8Array(firstAt + cells.length + (streams - 1) * 4);
  file.set(bytes.subarray(0, firstAt));
  new DataView(file.buffer).setUint32(state.streamsAt, streams, true);
  file.set(cells, firstAt);
  return file;
}
