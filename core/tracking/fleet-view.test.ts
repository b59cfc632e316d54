import { describe, expect, test } from 'vitest';
import { exampleInstance, exampleSequence, exampleStatus, exampleView, exampleNowMs as now } from './example-fleet.ts';
import { assembleView, newerView, projectView } from './fleet-view.ts';
import { startInstance, takeReport } from './instance-state.ts';

describe('fleet view', () => {
  test('is sorted by id and leaves out what never reported', () => {
    const known = ['chat-2', 'chat-1'].map((instanceId) => takeReport(startInstance(instanceId, now), exampleStatus({ instanceId }), now)[0]);
    const view = assembleView({ trackerId: 't', epoch: 3, version: 9, atMs: now }, [...known, startInstance('chat-3', now)]);
    expect(view.instances.map((i) => i.status?.instanceId)).toEqual(['chat-1', 'chat-2']);
    expect(view).toMatchObject({ trackerId: 't', epoch: 3, version: 9 });
  });
  test.each([
    ['a later version wins', { epoch: 1, version: 4 }, { epoch: 1, version: 5 }, true],
    ['a repeated one is dropped', { epoch: 1, version: 5 }, { epoch: 1, version: 5 }, false],
    ['a late one of an older owner is dropped', { epoch: 2, version: 1 }, { epoch: 1, version: 900 }, false],
    ['a new owner starts again at 1', { epoch: 1, version: 900 }, { epoch: 2, version: 1 }, true],
  ])('%s', (_name, have, received, taken) => {
    const current = { ...exampleView([]), ...have };
    const next = { ...exampleView([]), ...received };
    expect(newerView(current, next)).toBe(taken ? next : current);
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
