// Changes messages field by field, without knowing their types: the wire format says enough to take fields out, repeat
// them, swap them between messages and set values that are legal on the wire and make no sense.
import { type Chooser, oddNumbers, oddTexts } from './chooser.ts';
import { join, mutateBytes } from './mutate-bytes.ts';

interface Field {
  number: number;
  wireType: number;
  /** Without tag and length. */
  payload: Uint8Array;
}

const encoder = new TextEncoder();
const highestNumber = 24;
const deepest = 6;

/** A changed copy; `others` lend fields. `names` are ids that mean something to the receiver. */
export function mutateProtobuf(bytes: Uint8Array, others: readonly Uint8Array[], names: readonly string[], chooser: Chooser): Uint8Array {
  if (chooser.chance(0.15)) return mutateBytes(bytes, others, chooser);
  const fields = parseFields(bytes);
  if (!fields) return mutateBytes(bytes, others, chooser);
  for (let times = 1 + chooser.int(3); times > 0; times--) changeField(fields, others, names, chooser, 0);
  return encodeFields(fields);
}

function changeField(fields: Field[], others: readonly Uint8Array[], names: readonly string[], chooser: Chooser, depth: number): void {
  const at = chooser.int(fields.length);
  const field = fields[at];
  if (!field || chooser.chance(0.15)) {
    fields.push(chooser.chance(0.5) ? lent(others, chooser) : invented(names, chooser));
    return;
  }
  const inside = field.wireType === 2 && depth < deepest ? parseFields(field.payload) : undefined;
  if (inside && inside.length > 0 && chooser.chance(0.7)) {
    changeField(inside, others, names, chooser, depth + 1);
    field.payload = encodeFields(inside);
    return;
  }
  switch (chooser.int(6)) {
    case 0:
      fields.splice(at, 1);
      return;
    case 1:
      for (let times = chooser.length(50); times > 0; times--) fields.push({ ...field });
      return;
    case 2:
      field.number = 1 + chooser.int(highestNumber);
      return;
    default:
      field.payload = oddPayload(field.wireType, names, chooser);
  }
}

function lent(others: readonly Uint8Array[], chooser: Chooser): Field {
  const fields = others.length > 0 ? (parseFields(chooser.pick(others)) ?? []) : [];
  return fields.length > 0 ? { ...chooser.pick(fields) } : invented([], chooser);
}

function invented(names: readonly string[], chooser: Chooser): Field {
  const wireType = chooser.pick([0, 1, 2, 5]);
  return { number: 1 + chooser.int(highestNumber), wireType, payload: oddPayload(wireType, names, chooser) };
}

function oddPayload(wireType: number, names: readonly string[], chooser: Chooser): Uint8Array {
  if (wireType === 0)
    return varint(BigInt.asUintN(64, chooser.pick([0n, 1n, 2n, 7n, 255n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 63n, -1n])));
  if (wireType === 1) {
    const double = new DataView(new ArrayBuffer(8));
    double.setFloat64(0, chooser.chance(0.7) ? chooser.pick(oddNumbers) : 1_700_000_000_000 + chooser.int(100_000), true);
    return new Uint8Array(double.buffer);
  }
  if (wireType === 5) return chooser.bytes(4);
  const kind = chooser.int(4);
  if (kind === 0 && names.length > 0) return encoder.encode(chooser.pick(names));
  if (kind === 1) return chooser.bytes(chooser.length(64));
  if (kind === 2) return new Uint8Array();
  return encoder.encode(chooser.pick(oddTexts));
}

function parseFields(bytes: Uint8Array): Field[] | undefined {
  const fields: Field[] = [];
  let at = 0;
  while (at < bytes.length) {
    const tag = readVarint(bytes, at);
    if (!tag || tag.value < 8n || tag.value > 0xffffn) return undefined;
    const wireType = Number(tag.value & 7n);
    at = tag.end;
    let from = at;
    if (wireType === 0) {
      const value = readVarint(bytes, at);
      if (!value) return undefined;
      at = value.end;
    } else if (wireType === 1) at += 8;
    else if (wireType === 5) at += 4;
    else if (wireType === 2) {
      const length = readVarint(bytes, at);
      if (!length || length.value > BigInt(bytes.length)) return undefined;
      from = length.end;
      at = from + Number(length.value);
    } else return undefined;
    if (at > bytes.length) return undefined;
    fields.push({ number: Number(tag.value >> 3n), wireType, payload: bytes.slice(from, at) });
  }
  return fields;
}

function encodeFields(fields: readonly Field[]): Uint8Array {
  return join(
    ...fields.flatMap(({ number, wireType, payload }) => {
      const tag = varint(BigInt(number * 8 + wireType));
      return wireType === 2 ? [tag, varint(BigInt(payload.length)), payload] : [tag, payload];
    }),
  );
}

function readVarint(bytes: Uint8Array, from: number): { value: bigint; end: number } | undefined {
  let value = 0n;
  for (let at = from; at < bytes.length && at < from + 10; at++) {
    value |= BigInt(bytes[at]! & 0x7f) << BigInt(7 * (at - from));
    if (bytes[at]! < 0x80) return { value, end: at + 1 };
  }
  return undefined;
}

function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}
