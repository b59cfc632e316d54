import { expect, test } from 'vitest';
import { refusal } from '../../../core/errors/switchyard-error.ts';
import type { EngineEvent } from '../../ports/engines.ts';
import { batchesOf } from './event-batch.ts';

const none = new Uint8Array(0);
const event = (requestId: string, index: number, more: Partial<EngineEvent> = {}): EngineEvent => ({
  ...{ requestId, epoch: 1, index, tokenIds: [], text: '', data: none, finishReason: '', finalBody: none },
  ...more,
});
const token = (requestId: string, index: number, id: number) =>
  event(requestId, index, { tokenIds: [id], text: `t${id}`, data: Buffer.from(`d${id}`) });

test('what one request says in a turn is one event; requests share a batch', () => {
  const batches = batchesOf([token('a', 0, 1), token('b', 0, 7), token('a', 1, 2), event('a', 2, { finishReason: 'stop' })]);
  expect(batches).toHaveLength(1);
  expect(batches[0]).toMatchObject([
    { requestId: 'a', index: 0, tokenIds: [1, 2], text: 't1t2', data: Buffer.from('d1d2'), finishReason: 'stop' },
    { requestId: 'b', index: 0, tokenIds: [7] },
  ]);
});

test('an error comes after the tokens before it, and tokens are not counted as pieces', () => {
  const pieces = event('a', 1, { pieces: { count: 2 }, text: 'x' });
  const batches = batchesOf([token('a', 0, 1), pieces, event('a', 3, { error: refusal('engine_error', 'no') })]);
  expect(batches.map((batch) => batch.map(({ tokenIds, pieces, error }) => [tokenIds.length, pieces?.count, error?.code]))).toEqual([
    [[1, undefined, undefined]],
    [[0, 2, undefined]],
    [[0, undefined, 'engine_error']],
  ]);
});

test('of what one stream leaves for who continues, the newest stays', () => {
  const carry = (phase: 'answer' | 'reasoning') => ({ answerId: 'a', createdS: 1, model: 'm', promptTokens: 0, promptCrc: 0, phase });
  const [batch] = batchesOf([{ ...token('a', 0, 1), carry: carry('reasoning') }, { ...token('a', 1, 2), carry: carry('answer') }, token('a', 2, 3)]);
  expect(batch![0]!.carry!.phase).toBe('answer');
});
