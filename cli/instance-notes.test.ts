import { expect, test } from 'vitest';
import type { InstanceRow } from '../lib/operator/types.ts';
import { instanceNotes } from './instance-notes.ts';

const row = (id: string, more: Partial<InstanceRow>) =>
  ({ id, engine: 'openai', software: '', capabilities: [], health: 'healthy', setAside: '', setAsideWhy: '', ...more }) as InstanceRow;
const vllm = { software: 'vllm 0.32.0', capabilities: ['token_ids', 'recompute', 'continue:text', 'metrics', 'pause'] };

test('engines of a kind are said once, trouble one by one', () => {
  const notes = instanceNotes([
    row('chat-1', { ...vllm, loadAgeMs: 300 }),
    row('chat-2', { ...vllm, loadAgeMs: 200 }),
    row('chat-3', { ...vllm, setAside: 'engine_unavailable', setAsideWhy: 'http://c:8000: it is paused' }),
    row('chat-4', vllm),
    row('other', { software: '' }),
    row('gone', { ...vllm, health: 'dead' }),
  ]);
  expect(notes).toEqual([
    'chat-1, chat-2, chat-3, chat-4  vllm 0.32.0: goes on from token ids, gives token ids, metrics, says when it is paused',
    expect.stringMatching(/^other {2}openai: nothing beyond answering/),
    'chat-3 gets no requests: http://c:8000: it is paused',
    'chat-4: its metrics are too old, its load is what its agent counts',
  ]);
});
