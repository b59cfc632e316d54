// The file in which llama.cpp keeps one sequence (magic ggsq): its tokens, then the KV cells. llama.cpp trusts what it loads:
// a file that is short by a byte aborts the process, an absurd count takes all memory, a token id outside the vocabulary is
// accepted in silence. So a file is read here first, and what is not exactly of the known form is refused.
// Layout: llama.cpp v0.5.0, llama_context::state_seq_save_file and llama_kv_cache::state_write. All numbers little-endian:
//   magic, version, count of tokens, token ids; count of streams; for each stream its count of cells and, if that is not 0,
//   for each cell its position, the count 1 and a sequence id; V transposed or not; layers; for each layer K's type, the bytes
//   of a row (64 bits) and a row for each cell; then for each layer V's type and either the same as for K, or (transposed)
//   bytes of an element, width, and for each of `width` rows an element for each cell.
import { refusal } from '../../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../../proto/gen/messages.ts';

/** What does not depend on the sequence but on the model and how its context was made. Two that differ cannot read each other. */
export interface StateShape {
  readonly layers: number;
  /** Numbers of ggml's types: 0 is f32, 1 is f16. */
  readonly kType: number;
  readonly vType: number;
  /** Bytes of a cell in one layer. */
  readonly kCellBytes: number;
  readonly vCellBytes: number;
  /** Without flash attention. */
  readonly vTransposed: boolean;
}

export interface StateFile {
  readonly shape: StateShape;
  /** Sequences that the context was made for; 1 with a cache shared by all. */
  readonly streams: number;
  readonly tokenIds: readonly number[];
  /** Where the count of streams is, and from where to where the stream that is not empty lies, its count of cells included. */
  readonly streamsAt: number;
  readonly cellsAt: number;
  readonly cellsEnd: number;
}

export interface StateLimits {
  readonly vocabularySize: number;
  /** Tokens that the context holds. */
  readonly contextTokens: number;
}

export const stateMagic = 0x67677371;
/** Of llama.cpp v0.5.0; another is another layout. */
export const stateVersion = 3;
/** llama.cpp's own limit (LLAMA_MAX_SEQ). */
export const maxStreams = 256;
const maxLayers = 1024;
/** Bytes of a cell in one layer: far more than any model has. */
const maxCellBytes = 1 << 20;

/**
 * Reads all of a file but the KV values themselves: work grows with tokens and layers, not with bytes. Refused: `corrupt_kv`;
 * `kv_too_large` for a good file with more tokens than the context holds.
 */
export function readStateFile(bytes: Uint8Array, limits: StateLimits): StateFile | Refusal {
  try {
    return read(new Reader(bytes), limits);
  } catch (thrown) {
    if (thrown instanceof Malformed) return refusal(thrown.code, `a saved sequence ${thrown.message}`);
    throw thrown;
  }
}

/** The first thing that two shapes differ in, in words; undefined: they are equal. */
export function shapeDifference(one: StateShape, other: StateShape): string | undefined {
  const keys = ['layers', 'kType', 'vType', 'kCellBytes', 'vCellBytes', 'vTransposed'] as const;
  const differs = keys.find((key) => one[key] !== other[key]);
  return differs && `${differs} ${one[differs]}, not ${other[differs]}`;
}

class Malformed extends Error {
  readonly code: 'corrupt_kv' | 'kv_too_large';

  constructor(message: string, code: 'corrupt_kv' | 'kv_too_large' = 'corrupt_kv') {
    super(message);
    this.code = code;
  }
}

function read(reader: Reader, limits: StateLimits): StateFile {
  if (reader.uint32() !== stateMagic) throw new Malformed('does not begin like one');
  const version = reader.uint32();
  if (version !== stateVersion) throw new Malformed(`has format ${version}; this release reads ${stateVersion}`);
  const tokenIds = readTokens(reader, limits);
  const streamsAt = reader.at;
  const streams = reader.uint32();
  if (streams < 1 || streams > maxStreams) throw new Malformed(`has ${streams} streams`);
  let found: { shape: StateShape; cellsAt: number; cellsEnd: number } | undefined;
  for (let stream = 0; stream < streams; stream++) {
    const cellsAt = reader.at;
    const cells = reader.uint32();
    if (cells === 0) continue;
    if (found) throw new Malformed('has cells in two streams');
    if (cells !== tokenIds.length) throw new Malformed(`has ${cells} cells for ${tokenIds.length} tokens`);
    readCells(reader, cells);
    found = { shape: readRows(reader, cells), cellsAt, cellsEnd: reader.at };
  }
  if (!found) throw new Malformed('has no cells');
  if (reader.left > 0) throw new Malformed(`goes on for ${reader.left} bytes after its end`);
  return { shape: found.shape, streams, tokenIds, streamsAt, cellsAt: found.cellsAt, cellsEnd: found.cellsEnd };
}

function readTokens(reader: Reader, limits: StateLimits): number[] {
  const count = reader.uint32();
  if (count === 0) throw new Malformed('has no tokens');
  if (count * 4 > reader.left) throw new Malformed(`ends within its ${count} tokens`);
  if (count > limits.contextTokens) throw new Malformed(`has ${count} tokens, the context holds ${limits.contextTokens}`, 'kv_too_large');
  const tokenIds: number[] = [];
  for (let index = 0; index < count; index++) {
    const id = reader.uint32();
    if (id >= limits.vocabularySize) throw new Malformed(`has token ${id | 0}, the vocabulary ends at ${limits.vocabularySize}`);
    tokenIds.push(id);
  }
  return tokenIds;
}

/** Cells may lie in any order; together they are the positions from 0 on. */
function readCells(reader: Reader, cells: number): void {
  if (cells * 12 > reader.left) throw new Malformed(`ends within its ${cells} cells`);
  const seen = new Uint8Array(cells);
  for (let cell = 0; cell < cells; cell++) {
    const position = reader.uint32();
    if (position >= cells) throw new Malformed(`has position ${position | 0} among ${cells} cells`);
    if (seen[position]) throw new Malformed(`has position ${position} twice`);
    seen[position] = 1;
    if (reader.uint32() !== 1) throw new Malformed('has a cell that does not belong to one sequence');
    if (reader.uint32() >= maxStreams) throw new Malformed('has a cell of a sequence that cannot be');
  }
}

function readRows(reader: Reader, cells: number): StateShape {
  const transposed = reader.uint32();
  if (transposed > 1) throw new Malformed('is damaged where it says how V lies');
  const layers = reader.uint32();
  if (layers < 1 || layers > maxLayers) throw new Malformed(`has ${layers} layers`);
  const readLayers = (what: string, cellBytesOf: () => number) => {
    let first: { type: number; cellBytes: number } | undefined;
    for (let layer = 0; layer < layers; layer++) {
      const type = reader.uint32();
      const cellBytes = cellBytesOf();
      if (cellBytes < 1 || cellBytes > maxCellBytes) throw new Malformed(`has ${what} of ${cellBytes} bytes`);
      first ??= { type, cellBytes };
      if (first.type !== type || first.cellBytes !== cellBytes) throw new Malformed(`has layers with different ${what}: such models are not moved`);
      reader.skip(cells * cellBytes, `within ${what} of layer ${layer}`);
    }
    return first!;
  };
  const k = readLayers('K', () => reader.uint64());
  const v = readLayers('V', transposed ? () => reader.uint32() * reader.uint32() : () => reader.uint64());
  return { layers, kType: k.type, vType: v.type, kCellBytes: k.cellBytes, vCellBytes: v.cellBytes, vTransposed: transposed === 1 };
}

class Reader {
  readonly #view: DataView;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number {
    return this.#view.byteLength - this.at;
  }

  skip(count: number, where: string): void {
    if (count > this.left) throw new Malformed(`ends ${where}`);
    this.at += count;
  }

  uint32(): number {
    this.skip(4, 'too early');
    return this.#view.getUint32(this.at - 4, true);
  }

  uint64(): number {
    const low = this.uint32();
    return this.uint32() * 2 ** 32 + low;
  }
}
