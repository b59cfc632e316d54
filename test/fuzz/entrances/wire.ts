// Decoding of every message that crosses a process: whatever the bytes, a message with finite numbers or an error, in time
// that follows their length.

import type { Codec } from '../../../proto/codec.ts';
import * as messages from '../../../proto/gen/messages.ts';
import { count, type Entrance } from '../entrance.ts';
import { startFuzzedFleet } from '../fuzzed-fleet.ts';
import { mutateProtobuf } from '../mutate-protobuf.ts';

const codecs = Object.values(messages) as unknown as Codec<object>[];
const longestDecodeMs = 2_000;

export const wireEntrance: Entrance = {
  name: 'decoding of messages',
  weight: 40,
  shortInputs: 20_000,
  batch: 10_000,
  async open(seed, findings) {
    const fleet = await startFuzzedFleet(seed, findings);
    const valid = fleet.traffic.all;
    await fleet.stop();
    const outcomes = new Map<string, number>();
    return {
      outcomes,
      feed(chooser) {
        const codec = chooser.pick(codecs);
        const bytes = mutateProtobuf(chooser.pick(valid), valid, fleet.names, chooser);
        const startMs = performance.now();
        let message: object | undefined;
        try {
          message = codec.decode(chooser.chance(0.5) ? Buffer.from(bytes) : bytes);
        } catch (thrown) {
          if (!(thrown instanceof Error)) findings.thrown(`${codec.name} throws no error`, thrown);
          count(outcomes, 'refused');
        }
        if (message) {
          count(outcomes, 'decoded');
          if (hasOddNumber(message)) findings.add(`${codec.name} has a number that is not finite`);
          try {
            codec.decode(codec.encode(message));
          } catch (thrown) {
            findings.thrown(`${codec.name} cannot be passed on`, thrown);
          }
        }
        if (performance.now() - startMs > longestDecodeMs)
          findings.add(`${codec.name}: ${bytes.length} bytes took ${Math.round(performance.now() - startMs)} ms`);
      },
      async settle() {},
      async close() {},
    };
  },
};

function hasOddNumber(value: unknown): boolean {
  if (typeof value === 'number') return !Number.isFinite(value);
  if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return false;
  return Object.values(value).some(hasOddNumber);
}
