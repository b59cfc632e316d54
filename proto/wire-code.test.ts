// The generated code against protobufjs's own, which reads the .proto files: the same bytes, and the same messages from them.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import { expect, test } from 'vitest';
import type { Codec } from './codec.ts';
import * as messages from './gen/messages.ts';

const root = new protobuf.Root();
root.resolvePath = (_origin, target) => (target.startsWith('/') ? target : join(import.meta.dirname, target));
root.loadSync(
  readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.proto'))
    .map((name) => join(import.meta.dirname, name)),
);
root.resolveAll();

const codecs = Object.values(messages) as Codec<object>[];
const typeOf = (codec: Codec<object>) => root.lookupType(codec.name);

const scalars: Record<string, fc.Arbitrary<unknown>> = {
  string: fc.oneof(fc.constant(''), fc.string({ unit: 'grapheme' })),
  bytes: fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
  bool: fc.boolean(),
  double: fc.oneof(
    fc.constant(0),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0),
  ),
  uint32: fc.oneof(fc.constant(0), fc.nat(0xffff_ffff)),
  int32: fc.oneof(fc.constant(0), fc.integer()),
  fixed32: fc.oneof(fc.constant(0), fc.nat(0xffff_ffff)),
};

/** Objects as services make them: some messages inside are left out, one of several at most. */
function arbitraryOf(type: protobuf.Type): fc.Arbitrary<object> {
  const ofField = (field: protobuf.Field): fc.Arbitrary<unknown> => {
    const one = field.resolvedType instanceof protobuf.Type ? arbitraryOf(field.resolvedType) : scalars[field.type]!;
    if (field.repeated) return fc.array(one, { maxLength: 3 });
    return field.resolvedType ? fc.option(one) : one;
  };
  const plain = type.fieldsArray.filter((field) => !field.partOf);
  const record = fc.record(Object.fromEntries(plain.map((field) => [field.name, ofField(field)])));
  const [choice] = type.oneofsArray;
  if (!choice) return record;
  const chosen = fc.oneof(
    ...choice.fieldsArray.map((field) => arbitraryOf(field.resolvedType as protobuf.Type).map((value) => ({ [field.name]: value }))),
  );
  return fc.tuple(record, chosen).map(([fields, one]) => ({ ...fields, ...one }));
}

const asPlain = (type: protobuf.Type, bytes: Uint8Array): object =>
  type.toObject(type.decode(bytes), { defaults: true, arrays: true, longs: Number }) as object;

test.each(codecs.map((codec) => [codec.name, codec] as const))('%s is written and read as protobufjs does', (_, codec) => {
  const type = typeOf(codec);
  fc.assert(
    fc.property(arbitraryOf(type), (message) => {
      const bytes = codec.encode(message);
      expect(Buffer.from(bytes)).toEqual(Buffer.from(type.encode(type.create(message)).finish()));
      expect(codec.decode(Buffer.from(bytes))).toEqual(asPlain(type, Buffer.from(bytes)));
    }),
    { numRuns: 20 },
  );
});

test('bytes that are no message are refused where protobufjs refuses them, and otherwise read alike', () => {
  const outcome = (read: () => object) => {
    try {
      return read();
    } catch {
      return 'refused';
    }
  };
  const mutated = fc.constantFrom(...codecs).chain((codec) =>
    fc.record({
      codec: fc.constant(codec),
      message: arbitraryOf(typeOf(codec)),
      changes: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }),
      cut: fc.nat(),
    }),
  );
  fc.assert(
    fc.property(mutated, ({ codec, message, changes, cut }) => {
      const whole = Buffer.from(codec.encode(message));
      for (const [at, value] of changes) if (whole.length > 0) whole[at % whole.length] = value;
      const bytes = cut % 3 === 0 ? whole.subarray(0, cut % (whole.length + 1)) : whole;
      const read = outcome(() => codec.decode(bytes));
      const expected = outcome(() => asPlain(typeOf(codec), bytes));
      // Numbers that are not finite are refused by us alone.
      if (read === 'refused' && expected !== 'refused') expect(JSON.stringify(expected)).toContain('null');
      else expect(read).toEqual(expected);
    }),
    { numRuns: 2_000 },
  );
});
