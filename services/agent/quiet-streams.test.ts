import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { refusal } from '../../core/errors/switchyard-error.ts';
import { StreamEvent } from '../../proto/gen/messages.ts';
import { QuietStreams } from './quiet-streams.ts';

const empty = StreamEvent.decode(new Uint8Array());
const token = (stream: number, index: number, more: Partial<StreamEvent> = {}): StreamEvent => ({
  ...{ ...empty, stream, epoch: 1, index, tokenIds: [100 + index], text: `t${index} ` },
  ...more,
});
const finish = (stream: number, index: number) => token(stream, index, { finishReason: 'stop', finalBody: Uint8Array.of(1) });

function quiet(...streams: number[]): QuietStreams {
  const made = new QuietStreams();
  for (const stream of streams) made.begin(stream);
  return made;
}

describe('a stream whose client waits for the whole answer', () => {
  test('says its first token at once, and the rest with its end', () => {
    const streams = quiet(1);
    expect(streams.pass('a', [token(1, 0)])).toEqual([token(1, 0)]);
    expect(streams.pass('a', [token(1, 1)])).toEqual([]);
    expect(streams.pass('a', [token(1, 2)])).toEqual([]);
    expect(streams.holding).toBe(true);
    expect(streams.pass('a', [finish(1, 3)])).toEqual([{ ...finish(1, 3), index: 1, tokenIds: [101, 102, 103], text: 't1 t2 t3 ' }]);
    expect(streams.holding).toBe(false);
  });

  test('leaves others alone', () => {
    const streams = quiet(1);
    streams.pass('a', [token(1, 0), token(2, 0)]);
    expect(streams.pass('a', [token(2, 1), token(1, 1), token(2, 2)])).toEqual([token(2, 1), token(2, 2)]);
  });

  test('says what it held back before it fails', () => {
    const streams = quiet(1);
    streams.pass('a', [token(1, 0), token(1, 1)]);
    const failed = { ...token(1, 2), tokenIds: [], text: '', error: refusal('engine_error', 'broken') };
    expect(streams.pass('a', [failed])).toEqual([token(1, 1), failed]);
  });

  test('says it from time to time, by instance', () => {
    const streams = quiet(1, 2);
    streams.pass('a', [token(1, 0), token(1, 1)]);
    streams.pass('b', [token(2, 0), token(2, 1)]);
    expect([...streams.release()]).toEqual([
      ['a', [token(1, 1)]],
      ['b', [token(2, 1)]],
    ]);
    expect(streams.holding).toBe(false);
    expect([...streams.release()]).toEqual([]);
  });

  test('that was cancelled says nothing more', () => {
    const streams = quiet(1);
    streams.pass('a', [token(1, 0), token(1, 1)]);
    streams.forget(1);
    expect(streams.holding).toBe(false);
    expect([...streams.release()]).toEqual([]);
  });

  test('however it is interrupted, every token comes once and in order, in few events', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 200 }), fc.array(fc.nat(200)), (count, releasesAt) => {
        const streams = quiet(1);
        const said: StreamEvent[] = [];
        for (let index = 0; index < count; index++) {
          said.push(...streams.pass('a', [index === count - 1 ? finish(1, index) : token(1, index)]));
          if (releasesAt.includes(index)) said.push(...[...streams.release().values()].flat());
        }
        expect(said.flatMap(({ tokenIds }) => tokenIds)).toEqual(Array.from({ length: count }, (_, index) => 100 + index));
        let next = 0;
        for (const { index, tokenIds } of said) {
          expect(index).toBe(next);
          next += tokenIds.length;
        }
        expect(said.length).toBeLessThanOrEqual(3 + Math.ceil(count / 32) + new Set(releasesAt).size);
      }),
    );
  });
});
