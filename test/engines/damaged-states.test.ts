// States that are not what the source saved: damaged ones never reach llama.cpp, and the request goes on where it was. And the
// proof that a wrong state would show: with a checksum that says it is right, the text after the move is another.
import { describe, expect, test } from 'vitest';
import { type Envelope, envelopeOf } from '../../lib/engines/llama/envelope.ts';
import { wordVocabulary } from '../../lib/engines/llama/gguf/word-vocabulary.ts';
import { readStateFile, type StateFile } from '../../lib/engines/llama/state-file/state-file.ts';
import { llamaMissing, llamaPackage } from './llama-package.ts';
import { exactPair, filesOfStates, startLlama } from './llama-rig.ts';
import { type MoveMode, move } from './moves.ts';

const ask = { maxTokens: 300, prompt: 'What is beyond the hill?' };
const parsed = (blob: Uint8Array) => readStateFile(blob, { vocabularySize: wordVocabulary().pieces.length, contextTokens: 1024 }) as StateFile;
const view = (blob: Uint8Array) => new DataView(blob.buffer, blob.byteOffset, blob.byteLength);

/** With the checksum of what travels: only the structure can give it away. */
const sealed = (change: (blob: Uint8Array) => Uint8Array) => (blob: Uint8Array, envelope: Envelope) => {
  const sent = change(blob);
  return { blob: sent, envelope: envelopeOf(envelope, sent, envelope.tokenCount) };
};

const setAt = (place: (state: StateFile) => number, value: number) =>
  sealed((blob) => {
    view(blob).setUint32(place(parsed(blob)), value, true);
    return blob;
  });

/** Calls `each` for every byte of a K or V value. */
function changeValues(blob: Uint8Array, each: (index: number) => void): Uint8Array {
  const { cellsAt, tokenIds, shape } = parsed(blob);
  let at = cellsAt + 4 + tokenIds.length * 12 + 8;
  for (const cellBytes of [shape.kCellBytes, shape.vCellBytes]) {
    for (let layer = 0; layer < shape.layers; layer++) {
      at += 12;
      const end = at + cellBytes * tokenIds.length;
      for (; at < end; at++) each(at);
    }
  }
  expect(at).toBe(parsed(blob).cellsEnd);
  return blob;
}

describe.skipIf(!llamaPackage)(`states that are not what was saved${llamaMissing}`, () => {
  const pair = exactPair(ask);

  const firstCell = (state: StateFile) => state.cellsAt + 4;
  const damages: Record<string, (blob: Uint8Array, envelope: Envelope) => { blob: Uint8Array; envelope: Envelope }> = {
    'a byte short': sealed((blob) => blob.subarray(0, -1)),
    'two bytes short': sealed((blob) => blob.subarray(0, -2)),
    'three bytes short': sealed((blob) => blob.subarray(0, -3)),
    'half of it': sealed((blob) => blob.subarray(0, blob.length / 2)),
    'nothing but zeros': sealed((blob) => blob.fill(0)),
    'a byte too many': sealed((blob) => Buffer.concat([blob, new Uint8Array(1)])),
    'another magic': setAt(() => 0, 0x67677370),
    'another format': setAt(() => 4, 4),
    'an absurd count of tokens': setAt(() => 8, 0xfffffff0),
    'a token outside the vocabulary': setAt(() => 12, 1135),
    'a negative token': setAt(() => 12, 0xffffffff),
    'another token of the vocabulary': setAt(() => 16, 700),
    'no streams': setAt((state) => state.streamsAt, 0),
    'an absurd count of cells': setAt((state) => state.cellsAt, 0xfffffff0),
    'a cell less than tokens': setAt((state) => state.cellsAt, 5),
    'a negative position': setAt(firstCell, 0xffffffff),
    'a huge position': setAt(firstCell, 1_000_000),
    'a position twice': setAt(firstCell, 1),
    'more layers': setAt((state) => state.cellsAt + 4 + state.tokenIds.length * 12 + 4, 5),
    'rows of another width': setAt((state) => state.cellsAt + 4 + state.tokenIds.length * 12 + 12, 104),
    'V that lies otherwise': setAt((state) => state.cellsAt + 4 + state.tokenIds.length * 12, 0),
    'a flipped bit, with the checksum of before': (blob, envelope) => {
      blob[blob.length - 100]! ^= 1;
      return { blob, envelope };
    },
    'of another model': (blob, envelope) => ({ blob, envelope: { ...envelope, facts: { ...envelope.facts, modelSha256: 'ab'.repeat(32) } } }),
    'of another release': (blob, envelope) => ({ blob, envelope: { ...envelope, facts: { ...envelope.facts, release: 'v0.7.0' } } }),
    'of fewer tokens than it says': (blob, envelope) => ({ blob, envelope: { ...envelope, tokenCount: envelope.tokenCount + 1 } }),
  };
  const modes: readonly MoveMode[] = ['stop_and_copy', 'follow'];
  const cases = Object.entries(damages).map(([what, change], index) => ({ what, change, mode: modes[index % 2]! }));

  test.each(cases)('refused, $mode: $what', async ({ what, change, mode }) => {
    const { a, b, reference } = pair;
    const { pid } = b;
    const conversation = a.open({ ...ask, id: `damaged ${what}` });
    await conversation.tokens(12);
    const refused = await move(conversation, a, b, { mode, change });
    expect(['corrupt_kv', 'transfer_failed', 'kv_too_large'], refused?.message).toContain(refused?.code);
    await conversation.ended();
    expect([conversation.ids, conversation.contradictions, conversation.epoch]).toEqual([reference, [], 1]);
    expect([b.pid, b.engine.size, b.engine.status().freeBlocks]).toEqual([pid, 0, b.engine.status().totalBlocks]);
    expect(filesOfStates()).toEqual([]);
  });

  test('a sequence that cannot begin is an error, and leaves its slot to the next one', async () => {
    const { a, reference } = pair;
    const target = await startLlama('exact', { maxRunning: 1 });
    const unreadable = Buffer.from(JSON.stringify({ messages: [{ role: 'user', content: ask.prompt }], grammar: 'root ::= (' }));
    const broken = a.open({ ...ask, id: 'cannot begin' });
    await broken.tokens(12);
    const change = (blob: Uint8Array, envelope: Envelope) => ({ blob, envelope, body: unreadable });
    expect(await move(broken, a, target, { mode: 'stop_and_copy', change })).toBeUndefined();
    await broken.failed();
    expect(broken.error?.code).toBe('engine_error');
    const next = a.open({ ...ask, id: 'begins there' });
    await next.tokens(12);
    expect(await move(next, a, target, { mode: 'stop_and_copy' })).toBeUndefined();
    await next.ended();
    expect(next.ids).toEqual(reference);
    await target.close();
  });

  const wrong: Record<string, (blob: Uint8Array) => Uint8Array> = {
    'no state at all': (blob) => changeValues(blob, (at) => blob.fill(0, at, at + 1)),
    'a flipped bit in one of 1,000 bytes': (blob) => {
      let count = 0;
      return changeValues(blob, (at) => {
        // The sign, or the exponent's top bit.
        if (count++ % 1000 === 1) blob[at]! ^= 0x40;
      });
    },
  };

  test.each(Object.entries(wrong))('the text would be another with %s that is sealed as right', async (what, change) => {
    const { a, b } = pair;
    const long = { maxTokens: 300, prompt: 'Where does the long road end, and what is there to see?' };
    const right = a.open({ ...long, id: `right ${what}` });
    await right.ended();
    const conversation = a.open({ ...long, id: `wrong ${what}` });
    await conversation.tokens(60);
    const before = conversation.ids.length;
    expect(await move(conversation, a, b, { mode: 'stop_and_copy', change: sealed(change) })).toBeUndefined();
    await conversation.ended();
    const firstOther = conversation.ids.findIndex((id, index) => id !== right.ids[index]);
    console.log(`${what}: the text is another from ${firstOther - before} tokens after the move began`);
    expect(firstOther).toBeGreaterThanOrEqual(before);
  });
});
