import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { VirtualClock } from '../../../clock/virtual-clock.ts';
import type { ZmqSocketOptions } from '../../../zmq/zmq-socket.ts';
import type { ZmqMessage } from '../../../zmq/zmtp.ts';
import { BlockIndex } from './block-index.ts';
import { EventOrder } from './event-order.ts';
import { readKvEvents } from './kv-event.ts';
import { followKvEvents } from './kv-event-stream.ts';
import { unpack } from './msgpack.ts';

/** Topic, number and batch of each, as a vLLM published them. */
const published: ZmqMessage[] = readFileSync(new URL('../../../../test/support/engine-answers/vllm/kv-events.txt', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => line.split(' ').map((hex) => Buffer.from(hex, 'hex')));

/** A batch in MessagePack: [0, events, 0]. */
const batch = (...events: readonly unknown[]) => pack([0, events, 0]);
const stored = (hashes: number[], parent: number | null, tokenIds: number[]) => ({
  type: 'BlockStored',
  ...{ block_hashes: hashes, parent_block_hash: parent, token_ids: tokenIds, block_size: 2, lora_id: null },
});

describe('MessagePack', () => {
  test('values of every kind are read', () => {
    const hex = (text: string) => unpack(Buffer.from(text, 'hex'));
    expect(hex('cf7fffffffffffffff')).toBe(0x7fffffffffffffffn);
    expect(hex('cf0000000000000007')).toBe(7);
    expect(hex('d3ffffffffffffffff')).toBe(-1);
    expect(hex('ff')).toBe(-1);
    expect(hex('d1ff00')).toBe(-256);
    expect(hex('cb3ff8000000000000')).toBe(1.5);
    expect(hex('c403010203')).toEqual(Buffer.from([1, 2, 3]));
    expect(hex('93c0c2c3')).toEqual([null, false, true]);
    expect(hex('81a161d90162')).toEqual(new Map([['a', 'b']]));
    expect(hex('dc000101')).toEqual([1]);
  });

  test.each(['', '92', 'c7', 'c4ff00', '0101', '8101', 'd9ff61', `${'91'.repeat(40)}01`])('%s is refused', (text) => {
    expect(() => unpack(Buffer.from(text, 'hex'))).toThrow();
  });
});

describe('KV events', () => {
  test('of a real vLLM', () => {
    const [first, second] = published.map(([, , payload]) => readKvEvents(payload!));
    expect(first).toMatchObject([{ type: 'stored', hashes: ['993502624265732194'], parent: '7842375939889518119', blockTokens: 32, special: false }]);
    expect(second).toMatchObject([{ type: 'stored', parent: '993502624265732194' }]);
  });

  test('as lists, as SGLang sends them', () => {
    expect(readKvEvents(batch(['BlockStored', [5], null, [1, 2], 2, null], ['BlockRemoved', [5]], ['AllBlocksCleared']))).toEqual([
      { type: 'stored', hashes: ['5'], parent: undefined, tokenIds: [1, 2], blockTokens: 2, special: false },
      { type: 'removed', hashes: ['5'] },
      { type: 'cleared' },
    ]);
  });

  test('kinds that are not known and blocks whose tokens do not fit are left out', () => {
    expect(readKvEvents(batch({ type: 'BlockMoved' }, stored([1, 2], null, [1, 2])))).toEqual([]);
    expect(() => readKvEvents(pack({ a: 1 }))).toThrow('not a batch');
  });
});

describe('the index of blocks', () => {
  const index = (...events: unknown[]) => {
    const made = new BlockIndex();
    for (const event of readKvEvents(batch(...events))) made.apply(event);
    return made;
  };

  test('a prompt is cached as far as its chain of whole blocks goes', () => {
    const made = index(stored([11, 12], null, [1, 2, 3, 4]), stored([13], 12, [5, 6]));
    expect(made.cachedTokens([1, 2, 3, 4, 5, 6, 7])).toBe(6);
    expect(made.cachedTokens([1, 2, 9, 4, 5, 6])).toBe(2);
    expect(made.cachedTokens([3, 4])).toBe(0);
    expect(made.cachedTokens([1])).toBe(0);
  });

  test('what was removed or cleared is gone, and what was stored for something special never came', () => {
    expect(index(stored([11, 12], null, [1, 2, 3, 4]), { type: 'BlockRemoved', block_hashes: [11] }).cachedTokens([1, 2, 3, 4])).toBe(0);
    expect(index(stored([11], null, [1, 2]), { type: 'AllBlocksCleared' }).size).toBe(0);
    expect(index({ ...stored([11], null, [1, 2]), lora_name: 'x' }).size).toBe(0);
  });

  test('it remembers no more than its limit', () => {
    const made = new BlockIndex(1);
    for (const event of readKvEvents(batch(stored([11, 12], null, [1, 2, 3, 4])))) made.apply(event);
    expect(made.cachedTokens([1, 2, 3, 4])).toBe(2);
  });
});

describe('the order of events', () => {
  test('a gap is asked for once, and what waited comes with it', () => {
    const order = new EventOrder({ canReplay: true });
    expect([order.published(0), order.published(3), order.wanted()]).toEqual(['apply', 'ignore', 1]);
    expect([order.published(4), order.wanted()]).toEqual(['ignore', undefined]);
    expect([1, 2, 3].map((number) => order.replayed(number))).toEqual(['apply', 'apply', 'apply']);
    // The fourth was published after the replay had been gathered.
    expect([order.replayEnded(), order.wanted()]).toEqual([false, 4]);
    expect([order.replayed(4), order.replayEnded(), order.wanted(), order.published(5)]).toEqual(['apply', false, undefined, 'apply']);
  });

  test('what nobody repeats any more makes the rest worthless', () => {
    const order = new EventOrder({ canReplay: true });
    expect([order.published(7), order.wanted(), order.replayed(5)]).toEqual(['ignore', 0, 'forget_and_apply']);
    const silent = new EventOrder({ canReplay: true });
    expect([silent.published(7), silent.wanted(), silent.replayEnded(), silent.published(8)]).toEqual(['ignore', 0, true, 'apply']);
    expect(new EventOrder({ canReplay: false }).published(7)).toBe('forget_and_apply');
  });

  test('a publisher that begins anew is another engine; a repeat is none', () => {
    const order = new EventOrder({ canReplay: true });
    for (let number = 0; number < 5; number++) order.published(number);
    expect([order.published(3), order.published(0), order.published(1)]).toEqual(['ignore', 'forget_and_apply', 'apply']);
  });
});

describe('following the events of an engine', () => {
  function rig(replay: string | null = 'tcp://replay:1') {
    const sockets = new Map<string, ZmqSocketOptions & { sent: ZmqMessage[] }>();
    const seen: (string | undefined)[] = [];
    const stream = followKvEvents({
      ...{ events: 'tcp://events:1', replay: replay ?? undefined, clock: new VirtualClock(), onChange() {}, onConnection: (why) => seen.push(why) },
      open(options) {
        const socket = { ...options, sent: [] as ZmqMessage[] };
        sockets.set(options.type, socket);
        return { send: (message) => void socket.sent.push(message), close() {} };
      },
    });
    return { stream, seen, events: sockets.get('SUB')!, replay: sockets.get('DEALER')! };
  }
  const number = (value: number | bigint) => {
    const made = Buffer.alloc(8);
    made.writeBigUInt64BE(BigInt(value));
    return made;
  };
  const none = Buffer.alloc(0);

  test('asks for what was published before it came, and for what it missed', () => {
    const { stream, events, replay } = rig();
    events.onUp!();
    replay.onUp!();
    expect(replay.sent.at(-1)).toEqual([new Uint8Array(0), number(0)]);
    replay.onMessage([none, none, number(0), batch(stored([11], null, [1, 2]))]);
    replay.onMessage([none, none, number(0xffff_ffff_ffff_ffffn), none]);
    expect(stream.blocks.cachedTokens([1, 2, 3, 4])).toBe(2);
    events.onMessage([none, number(2), batch(stored([13], 12, [5, 6]))]);
    expect(replay.sent.at(-1)).toEqual([new Uint8Array(0), number(1)]);
    replay.onMessage([none, none, number(1), batch(stored([12], 11, [3, 4]))]);
    replay.onMessage([none, none, number(2), batch(stored([13], 12, [5, 6]))]);
    replay.onMessage([none, none, number(0xffff_ffff_ffff_ffffn), none]);
    expect(stream.blocks.cachedTokens([1, 2, 3, 4, 5, 6])).toBe(6);
    expect(stream.counts).toMatchObject({ applied: 3, lost: 0 });
  });

  test('forgets everything when its publisher is another one, and when batches are lost for good', () => {
    const { stream, events } = rig();
    events.onUp!();
    events.onMessage([none, number(0), batch(stored([11], null, [1, 2]))]);
    events.onDown!('gone');
    events.onUp!();
    expect(stream.blocks.size).toBe(0);
    const { stream: alone, events: published } = rig(null);
    published.onMessage([none, number(0), batch(stored([11], null, [1, 2]))]);
    published.onMessage([none, number(5), batch(stored([12], null, [3, 4]))]);
    expect([alone.blocks.cachedTokens([1, 2]), alone.blocks.cachedTokens([3, 4]), alone.counts.lost]).toEqual([0, 2, 1]);
  });

  test('what cannot be read is counted', () => {
    const { stream, events } = rig();
    events.onMessage([none, number(0), Buffer.from('nonsense')]);
    events.onMessage([none, Buffer.from('1'), none]);
    expect(stream.counts).toMatchObject({ unreadable: 1, applied: 0 });
  });
});

/** The few kinds of values that batches here are made of. */
function pack(value: unknown): Buffer {
  if (value === null || value === undefined) return Buffer.from([0xc0]);
  if (typeof value === 'number') return Buffer.from([value]);
  if (typeof value === 'string') return Buffer.concat([Buffer.from([0xa0 | value.length]), Buffer.from(value)]);
  if (Array.isArray(value)) return Buffer.concat([Buffer.from([0x90 | value.length]), ...value.map(pack)]);
  const entries = Object.entries(value as object);
  return Buffer.concat([Buffer.from([0x80 | entries.length]), ...entries.flatMap(([key, each]) => [pack(key), pack(each)])]);
}
