import { expect, test } from 'vitest';
import { exampleInstance } from '../../core/tracking/example-fleet.ts';
import { standingOf } from './start-services.ts';

test('who is waited for: silent ones and those that load; not one that has said that it never will, nor one that is cordoned', () => {
  const views = [
    exampleInstance({ instanceId: 'ready' }),
    exampleInstance({ instanceId: 'cordoned' }, { cordoned: true }),
    exampleInstance({ instanceId: 'loading', accepting: false }),
    exampleInstance({ instanceId: 'broken', accepting: false, setAside: 'invalid_config' }),
    exampleInstance({ instanceId: 'suspect' }, { health: 'suspect' }),
  ];
  const wanted = ['ready', 'cordoned', 'loading', 'broken', 'suspect', 'silent'].map((id) => ({ id }));
  expect(standingOf(views, wanted)).toEqual({
    waiting: ['instance loading (loading)', 'instance suspect', 'instance silent'],
    unusable: ['broken'],
  });
});
