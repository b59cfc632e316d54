import { describe, expect, test } from 'vitest';
import type { InstanceStatus, SequenceStatus } from '../../proto/gen/messages.ts';
import { exampleInstance, exampleSequence } from '../tracking/example-fleet.ts';
import { carriesKv, chooseMode, copiesAhead, mayRecomputeAfter } from './mode.ts';

const status = (fields: Partial<InstanceStatus>) => exampleInstance({ instanceId: 'i', ...fields }).status;
const llama = { capabilities: ['kv_state', 'recompute'], kvFormat: 'llama:1' };
const vllm = { capabilities: ['kv_pull', 'recompute'], kvFormat: 'vllm-nixl:1' };
const sequence = exampleSequence({ requestId: 'r', promptTokens: 900, outputTokens: 100 });

function choose(source: Partial<InstanceStatus>, target: Partial<InstanceStatus>, moved: SequenceStatus = sequence) {
  // 1,024 bytes of KV a token: 1,024,000 in all.
  return chooseMode(moved, status(source), status(target), { followFromBytes: 1e6 });
}

describe('how a sequence moves', () => {
  test.each([
    ['blocks in stages between engines that export them', {}, {}, 'copy', ''],
    ['a large state is followed', llama, llama, 'follow', ''],
    ['stock engines fetch it from each other', vllm, vllm, 'pull', ''],
    ['other formats', llama, { ...llama, kvFormat: 'llama:2' }, 'recompute', "cannot read each other's KV"],
    ['another shape', llama, { ...llama, kvBytesPerToken: 8 }, 'recompute', "cannot read each other's KV"],
    ['another model', llama, { ...llama, model: 'other' }, 'recompute', "cannot read each other's KV"],
    ['another kind of engine', llama, vllm, 'recompute', 'do not move KV'],
    ['a target that does not', {}, { capabilities: ['recompute'] }, 'recompute', 'do not move KV'],
  ] as const)('%s', (_, source, target, mode, because) => {
    expect(choose({ ...source } as Partial<InstanceStatus>, { ...target } as Partial<InstanceStatus>)).toEqual({
      mode,
      because: because === '' ? '' : expect.stringContaining(because),
    });
  });
  test('a small state is copied while it stands still', () => {
    expect(choose(llama as never, llama as never, { ...sequence, outputTokens: 0 })).toEqual({
      mode: 'stop_and_copy',
      because: expect.stringContaining('quicker'),
    });
  });
  test.each(['waiting', 'prefill', 'paused'] as const)('in %s there is no KV worth moving', (state) => {
    expect(choose({}, {}, { ...sequence, state })).toMatchObject({ mode: 'recompute', because: expect.stringContaining(state) });
  });
  test('a target that can neither take KV nor recompute takes nothing', () => {
    expect(choose({}, { capabilities: [] })).toBeUndefined();
  });
});

test('only recomputing carries no KV, and only stages and following begin ahead', () => {
  const modes = ['copy', 'follow', 'stop_and_copy', 'pull', 'recompute'] as const;
  expect(modes.filter(carriesKv)).toEqual(['copy', 'follow', 'stop_and_copy', 'pull']);
  expect(modes.filter(copiesAhead)).toEqual(['copy', 'follow']);
});

test('what ended with the sequence, or has no room, is not tried again by recomputing', () => {
  expect(['transfer_failed', 'corrupt_kv', 'engine_error'].every(mayRecomputeAfter)).toBe(true);
  expect(['sequence_finished', 'target_full', 'stale_epoch', 'cancelled', ''].some(mayRecomputeAfter)).toBe(false);
});
