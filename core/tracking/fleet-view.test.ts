import { describe, expect, test } from 'vitest';
import { exampleInstance, exampleSequence, exampleStatus, exampleView, exampleNowMs as now } from './example-fleet.ts';
import { assembleView, compareViews, projectView } from './fleet-view.ts';
import { startInstance, takeReport } from './instance-state.ts';

describe('fleet view', () => {
  test('is sorted by id and leaves out what never reported', () => {
    const known = ['chat-2', 'chat-1'].map((instanceId) => takeReport(startInstance(instanceId, now), exampleStatus({ instanceId }), now)[0]);
    const view = assembleView({ trackerId: 't', epoch: 3, version: 9, atMs: now }, [...known, startInstance('chat-3', now)]);
    expect(view.instances.map((i) => i.status?.instanceId)).toEqual(['chat-1', 'chat-2']);
    expect(view).toMatchObject({ trackerId: 't', epoch: 3, version: 9 });
  });
  test.each([
    ['a later version', { epoch: 1, version: 4 }, { epoch: 1, version: 5 }, 1],
    ['the same', { epoch: 1, version: 5 }, { epoch: 1, version: 5 }, 0],
    ['one of an older owner', { epoch: 2, version: 1 }, { epoch: 1, version: 900 }, -1],
    ['the first of a new owner', { epoch: 1, version: 900 }, { epoch: 2, version: 1 }, 1],
  ])('%s is newer, equal or older', (_name, have, received, order) => {
    expect(Math.sign(compareViews(received, have))).toBe(order);
  });
  test('projection moves living instances on and leaves dead ones', () => {
    const sequences = [exampleSequence({ requestId: 'a' })];
    const view = exampleView([
      exampleInstance({ instanceId: 'chat-1', sequences }),
      exampleInstance({ instanceId: 'chat-2', sequences }, { health: 'dead' }),
    ]);
    expect(projectView(view, now + 200).map((i) => i.status.sequences[0]?.outputTokens)).toEqual([26, 16]);
  });
});
