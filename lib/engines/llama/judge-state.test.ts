import { expect, test } from 'vitest';
import { type EngineFacts, type Envelope, envelopeOf } from './envelope.ts';
import { judgeState } from './judge-state.ts';
import { madeShape, makeState } from './state-file/state-file-fixtures.ts';

const facts: EngineFacts = { release: 'v0.5.0', cpuFlags: 'AVX2 = 1', modelSha256: 'ab'.repeat(32), flashAttention: false, shape: madeShape };
const expected = { here: { facts, contextTokens: 64 }, vocabularySize: 100, history: [1, 50, 51, 52] };
const blob = makeState({ tokenIds: [1, 50, 51] });
const from = { facts, contextTokens: 64, sequences: 2 };
const sealed = (bytes: Uint8Array, tokenCount = 3): Envelope => envelopeOf(from, bytes, tokenCount);

test('a state of this sequence and of an engine like this one may be loaded', () => {
  expect(judgeState(blob, sealed(blob), expected)).toMatchObject({ tokenIds: [1, 50, 51], streams: 2 });
});

test.each<[string, Uint8Array, Envelope, object, string]>([
  ['of another engine', blob, { ...sealed(blob), facts: { ...facts, release: 'v0.7.0' } }, {}, 'transfer_failed'],
  ['damaged on the way', makeState({ tokenIds: [1, 50, 52] }), sealed(blob), {}, 'corrupt_kv'],
  ['cut short, and sealed like that', blob.subarray(0, -1), sealed(blob.subarray(0, -1)), {}, 'corrupt_kv'],
  ['of another shape than it was said to be', makeState({ tokenIds: [1, 50, 51], shape: { layers: 3 } }), undefined as never, {}, 'corrupt_kv'],
  ['of more tokens than it was said to be', blob, sealed(blob, 2), {}, 'corrupt_kv'],
  ['of other tokens', blob, sealed(blob), { history: [1, 50, 53, 52] }, 'corrupt_kv'],
  ['of all tokens, so that none is left to go on with', blob, sealed(blob), { history: [1, 50, 51] }, 'corrupt_kv'],
  ['of a sequence that fills the context here', blob, sealed(blob), { here: { facts, contextTokens: 4 } }, 'kv_too_large'],
])('a state %s is refused', (_what, bytes, envelope, other, code) => {
  expect(judgeState(bytes, envelope ?? sealed(bytes), { ...expected, ...other })).toMatchObject({ code });
});
