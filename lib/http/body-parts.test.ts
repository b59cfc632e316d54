import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BodyParts } from './body-parts.ts';

test('whatever is announced and however it is cut, the whole is what came', () => {
  const lengths = fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constantFrom(65_536, 300_000)), { maxLength: 8 });
  fc.assert(
    fc.property(lengths, fc.oneof(fc.constant(0), fc.nat(1_000_000)), (each, announced) => {
      const parts = new BodyParts(announced);
      let next = 0;
      const sent = each.map((length) => Buffer.from(Uint8Array.from({ length }, () => next++ % 251)));
      const expected = Buffer.concat(sent);
      for (const part of sent) parts.add(part);
      expect(parts.size).toBe(expected.length);
      expect(Buffer.compare(parts.whole(), expected)).toBe(0);
    }),
    { numRuns: 30 },
  );
});

test('a part with a memory of its own is given back when it has been copied; a piece of something larger is left alone', () => {
  const own = new Uint8Array(4).fill(1);
  const piece = new Uint8Array(8).fill(2).subarray(0, 4);
  const last = new Uint8Array(4).fill(3);
  const parts = new BodyParts(12);
  for (const part of [own, piece, last]) parts.add(part);
  expect([own.length, piece.length, last.length]).toEqual([0, 4, 0]);
  expect([...parts.whole()]).toEqual([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
});

test('memory grows with what comes, not with what is announced', () => {
  const parts = new BodyParts(1_000_000_000);
  parts.add(new Uint8Array(10));
  parts.add(new Uint8Array(10));
  expect(parts.whole().buffer.byteLength).toBeLessThan(1_000_000);
});
