import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LinkFrame, OpenStream } from '../../proto/gen/messages.ts';
import { openFrame } from './open-frame.ts';

const anOpen = (fields: Partial<OpenStream>): OpenStream => ({ ...OpenStream.decode(new Uint8Array()), requestId: 'req-1', ...fields });

test('a frame in two pieces is the frame that one piece would be', () => {
  fc.assert(
    fc.property(fc.integer({ min: 16_000, max: 70_000 }), fc.string(), fc.array(fc.nat(100_000)), (bytes, resumeText, resumeTokenIds) => {
      const open = anOpen({ stream: 7, body: new Uint8Array(bytes).fill(bytes % 256), resumeText, resumeTokenIds, serviceTier: 'flex' });
      const { head, tail } = openFrame(open);
      const whole = LinkFrame.decode(tail ? Buffer.concat([head, tail]) : head);
      expect(whole.open && { ...whole.open, body: Buffer.from(whole.open.body) }).toEqual({ ...open, body: Buffer.from(open.body) });
    }),
    { numRuns: 50 },
  );
});

test('a large body is not copied, a small one is', () => {
  const body = new Uint8Array(100_000);
  expect(openFrame(anOpen({ body })).tail).toBe(body);
  expect(openFrame(anOpen({ body: new Uint8Array(1_000) })).tail).toBeUndefined();
});
