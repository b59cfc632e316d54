// Writes a GGUF v3 file, the format in which llama.cpp reads models. Source: docs/gguf.md of ggml. Little-endian throughout.

export type GgufValue =
  | { readonly type: 'uint32' | 'float32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'int32s' | 'float32s'; readonly value: readonly number[] }
  | { readonly type: 'strings'; readonly value: readonly string[] };

export interface GgufTensor {
  readonly name: string;
  /** Sizes, the one whose elements lie side by side first. */
  readonly shape: readonly number[];
  readonly elements: 'float32' | 'float16';
  /** Fills the tensor's bytes, which are zero before. */
  readonly fill: (bytes: Uint8Array) => void;
}

const alignment = 32;
const typeIds = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 } as const;
const elementIds = { float32: 0, float16: 1 } as const;
const elementBytes = { float32: 4, float16: 2 } as const;

/** The whole file. */
export function writeGguf(metadata: ReadonlyMap<string, GgufValue>, tensors: readonly GgufTensor[]): Uint8Array {
  const head = new Head();
  head.bytes(new TextEncoder().encode('GGUF'));
  head.uint32(3);
  head.uint64(tensors.length);
  head.uint64(metadata.size);
  for (const [key, value] of metadata) {
    head.string(key);
    writeValue(head, value);
  }
  const offsets: number[] = [];
  let dataBytes = 0;
  for (const tensor of tensors) {
    offsets.push(dataBytes);
    head.string(tensor.name);
    head.uint32(tensor.shape.length);
    for (const size of tensor.shape) head.uint64(size);
    head.uint32(elementIds[tensor.elements]);
    head.uint64(dataBytes);
    dataBytes = aligned(dataBytes + bytesOf(tensor));
  }
  const dataStart = aligned(head.length);
  const file = new Uint8Array(dataStart + dataBytes);
  head.copyTo(file);
  tensors.forEach((tensor, index) => {
    const start = dataStart + offsets[index]!;
    tensor.fill(file.subarray(start, start + bytesOf(tensor)));
  });
  return file;
}

function aligned(offset: number): number {
  return Math.ceil(offset / alignment) * alignment;
}

function bytesOf({ shape, elements }: GgufTensor): number {
  return shape.reduce((product, size) => product * size, elementBytes[elements]);
}

function writeValue(head: Head, { type, value }: GgufValue): void {
  switch (type) {
    case 'uint32':
      head.uint32(typeIds.uint32);
      head.uint32(value);
      break;
    case 'float32':
      head.uint32(typeIds.float32);
      head.float32(value);
      break;
    case 'bool':
      head.uint32(typeIds.bool);
      head.bytes(Uint8Array.of(value ? 1 : 0));
      break;
    case 'string':
      head.uint32(typeIds.string);
      head.string(value);
      break;
    case 'strings':
      head.array(typeIds.string, value.length);
      for (const one of value) head.string(one);
      break;
    case 'int32s':
      head.array(typeIds.int32, value.length);
      for (const one of value) head.uint32(one >>> 0);
      break;
    case 'float32s':
      head.array(typeIds.float32, value.length);
      for (const one of value) head.float32(one);
  }
}

/** Everything before the tensors' data, which grows as it is written. */
class Head {
  #room = new Uint8Array(64 * 1024);
  #view = new DataView(this.#room.buffer);
  length = 0;

  #take(count: number): number {
    const start = this.length;
    this.length += count;
    if (this.length > this.#room.length) {
      const larger = new Uint8Array(Math.max(this.length, this.#room.length * 2));
      larger.set(this.#room);
      this.#room = larger;
      this.#view = new DataView(larger.buffer);
    }
    return start;
  }

  uint32(value: number): void {
    const at = this.#take(4);
    this.#view.setUint32(at, value, true);
  }

  uint64(value: number): void {
    const at = this.#take(8);
    this.#view.setBigUint64(at, BigInt(value), true);
  }

  float32(value: number): void {
    const at = this.#take(4);
    this.#view.setFloat32(at, value, true);
  }

  bytes(bytes: Uint8Array): void {
    const at = this.#take(bytes.length);
    this.#room.set(bytes, at);
  }

  string(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.uint64(bytes.length);
    this.bytes(bytes);
  }

  array(elementType: number, length: number): void {
    this.uint32(typeIds.array);
    this.uint32(elementType);
    this.uint64(length);
  }

  copyTo(file: Uint8Array): void {
    file.set(this.#room.subarray(0, this.length));
  }
}
