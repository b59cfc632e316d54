import { describe, expect, test } from 'vitest';
import { exampleStatus, exampleNowMs as now } from '../../core/tracking/example-fleet.ts';
import { instanceActor } from './actor.ts';
import { instanceTrackerSchema } from './config.ts';

const actor = instanceActor(instanceTrackerSchema.parse({}));
const [reported] = actor.step(actor.start('chat-1', now), { type: 'report', status: exampleStatus({ instanceId: 'chat-1' }) }, now);

describe('instance actor', () => {
  test('wakes when silence begins to matter and says what changed', () => {
    const dueMs = actor.wakeAt(reported)!;
    expect(dueMs).toBe(now + 1_200);
    const [, effects] = actor.step(reported, { type: 'wake' }, now + 1_500);
    expect(effects).toEqual([
      { type: 'health_changed', from: 'healthy', to: 'suspect', silentMs: 1_500 },
      { type: 'changed', meaningful: true },
    ]);
  });
  test('a wake-up that comes late was not the instance’s silence', () => {
    const [after, effects] = actor.step(reported, { type: 'wake' }, now + 20_000);
    expect(after.health).toBe('healthy');
    expect(effects.filter((e) => e.type === 'health_changed')).toEqual([]);
    expect(actor.wakeAt(after)).toBeGreaterThan(now + 19_000);
  });
  test('a repeated report changes nothing and is counted', () => {
    expect(actor.step(reported, { type: 'report', status: exampleStatus({ instanceId: 'chat-1' }) }, now + 10)).toEqual([
      reported,
      [{ type: 'report_counted', result: 'repeated' }],
    ]);
  });
  test.each(['suspectMs', 'minPublishMs', 'forgetMs', 'typo'])('a configuration with a wrong %s is refused', (key) => {
    const wrong = { suspectMs: 5_000, minPublishMs: 5_000, forgetMs: 1_000, typo: 1 }[key];
    expect(instanceTrackerSchema.safeParse({ [key]: wrong, ...(key === 'forgetMs' ? { deadMs: 2_000 } : {}) }).success).toBe(false);
  });
});
