import { describe, expect, it } from 'vitest';
import { whyKeepTrace } from './keep-trace.ts';
import { Story } from './request-story.ts';

const limits = { slowTtftMs: 2_000, slowTpotMs: 200 };
const why = (story: Story) => whyKeepTrace(story.state, limits);

describe('whyKeepTrace', () => {
  it('leaves out a request that simply went well', () => {
    const story = Story.streaming();
    story.pass(100);
    story.say(0, 1);
    story.pass(50);
    story.say(1, 1, { finishReason: 'stop' });
    expect(story.state.phase).toBe('completed');
    expect(why(story)).toBeUndefined();
  });

  it('keeps a request from the moment of its fail-over', () => {
    const story = Story.streaming();
    story.say(0, 1);
    story.tell({ type: 'instanceDead', instanceId: 'chat-1' });
    expect(why(story)).toBe('failed_over');
  });

  it('keeps a request from the moment of its hand-over', () => {
    const story = Story.streaming();
    story.say(0, 1);
    story.handOver({ toEpoch: 2 });
    expect(why(story)).toBe('moved');
  });

  it('leaves out a request that goes on where its placement said, and keeps it when it moves again', () => {
    const story = new Story();
    story.begin();
    story.admit({ outcome: 'assigned', epoch: 1, instanceId: 'chat-1', goesOnAt: 'chat-2' });
    story.say(0, 1);
    story.handOver({ toEpoch: 2, instanceId: 'chat-2' });
    expect([story.state.migrations, why(story)]).toEqual([1, undefined]);
    story.handOver({ fromEpoch: 2, toEpoch: 3, instanceId: 'chat-3', migrationId: 'm-2' });
    expect([story.state.migrations, why(story)]).toEqual([2, 'moved']);
  });

  it('keeps what failed, and what was refused as something lesser', () => {
    const failed = Story.streaming();
    failed.say(0, 1);
    failed.tell({ type: 'cutShort' });
    expect(why(failed)).toBe('failed');
    const refused = new Story();
    refused.begin();
    refused.admit({ outcome: 'refused', epoch: 0, instanceId: '', code: 'queue_full' } as never);
    expect(refused.state.phase).toBe('refused');
    expect(why(refused)).toBe('refused');
  });

  it('does not keep what its client left', () => {
    const story = Story.streaming();
    story.say(0, 1);
    story.tell({ type: 'clientLeft' });
    expect(why(story)).toBeUndefined();
  });

  it('a late first token is slow at once, by the own target of the request where it has one', () => {
    const late = Story.streaming();
    late.pass(2_001);
    late.say(0, 1);
    expect(why(late)).toBe('slow');
    const { info } = Story.streaming().state.facts;
    const strict = Story.streaming({ info: { ...info, ttftSloMs: 100 } });
    strict.pass(101);
    strict.say(0, 1);
    expect(why(strict)).toBe('slow');
    const patient = Story.streaming({ info: { ...info, ttftSloMs: 5_000 } });
    patient.pass(2_001);
    patient.say(0, 1);
    expect(why(patient)).toBeUndefined();
  });

  it('slow tokens count when the answer is whole', () => {
    const story = Story.streaming();
    story.say(0, 1);
    story.pass(500);
    story.say(1, 1);
    expect(why(story)).toBeUndefined();
    story.pass(500);
    story.say(2, 1, { finishReason: 'stop' });
    expect(why(story)).toBe('slow');
  });
});
