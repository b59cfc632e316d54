import { expect, test } from 'vitest';
import { anInstance, aSequence } from '../routing/routing-fixtures.ts';
import { handOffTerms, planHandOff } from './hand-off.ts';

const from = { requestId: 'r', epoch: 3, instanceId: 'p', gatewayId: 'gateway-1', to: { instanceId: 'd', address: 'ws://d' } };
const status = (sequence: Parameters<typeof aSequence>[1] = {}, kvBytesPerToken = 256) =>
  anInstance('p', { kvBytesPerToken, sequences: [aSequence('r', { epoch: 3, promptTokens: 2_000, ...sequence })] }).status!;
const planned = (ways: readonly string[] = ['kv_export'], ...of: Parameters<typeof status>) =>
  planHandOff(from, status(...of), new Set(ways), { followFromBytes: 1e6 });

test('a plan names both ends, their epochs, and has the same id each time', () => {
  expect(planned()).toMatchObject({
    ...{ migrationId: 'hand-off-r-3', requestId: 'r', gatewayId: 'gateway-1', fromEpoch: 3, toEpoch: 4 },
    ...{ sourceInstanceId: 'p', targetInstanceId: 'd', targetAddress: 'ws://d' },
  });
  expect(planned()).toEqual(planned());
});

test.each([
  ['kv_export', 256, 'copy', handOffTerms.stagesAhead, handOffTerms.lastStageBlocks],
  ['kv_state', 4_096, 'follow', handOffTerms.stagesAhead, 0],
  ['kv_state', 16, 'stop_and_copy', 0, handOffTerms.lastStageBlocks],
  ['kv_pull', 256, 'pull', 0, handOffTerms.lastStageBlocks],
])('%s with %i bytes a token: %s', (way, bytes, mode, stagesAhead, lastStageBlocks) => {
  expect(planned([way], {}, bytes)).toMatchObject({ mode, stagesAhead, lastStageBlocks });
});

test('a server that has to compute before it gives away has longer for it', () => {
  const { pull, pauseLeaseMs, reservationTtlMs } = handOffTerms;
  expect(planned(['kv_pull'])).toMatchObject(pull);
  expect(planned()).toMatchObject({ pauseLeaseMs, reservationTtlMs });
  expect(pull.pauseLeaseMs).toBeLessThan(pull.reservationTtlMs);
});

test('reserves what there is and what comes meanwhile, never more than the answer can fill', () => {
  expect(planned()).toMatchObject({ reserveBlocks: Math.ceil((2_001 + 65) / 16) + 1 });
  expect(planned(['kv_export'], { maxOutputTokens: 20 })).toMatchObject({ reserveBlocks: Math.ceil(2_020 / 16) });
});

test.each<[string, Parameters<typeof planned>, string]>([
  ['its end is near', [['kv_export'], { outputTokens: 1, maxOutputTokens: 16 }], 'few_tokens'],
  ['it is over', [['kv_export'], { epoch: 2 }], 'sequence_finished'],
  ['its engine does not move KV', [['recompute']], 'not_movable'],
  ['it has lost its place in the batch', [['kv_export'], { state: 'waiting' }], 'not_movable'],
])('a request stays when %s', (_, args, why) => {
  expect(planned(...args)).toBe(why);
});
