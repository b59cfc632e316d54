// Whatever order things happen in: each token reaches the client once and in order, only the current epoch speaks, and
// the request ends once.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { isAsking, isSpeaking } from './request-state.ts';
import { Story } from './request-story.ts';

// `who` picks one of the instances that have ever been given an epoch; `back` and `count` make events that repeat, follow,
// overlap or leave a gap.
const happening = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('say' as const),
      who: fc.nat(5),
      back: fc.integer({ min: -3, max: 1 }),
      count: fc.integer({ min: 0, max: 4 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('finish' as const), who: fc.nat(5), back: fc.integer({ min: -2, max: 1 }), count: fc.nat(2) }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('assign' as const), ahead: fc.integer({ min: -2, max: 2 }), ask: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('queue' as const), ask: fc.nat(2) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('refuse' as const),
      code: fc.constantFrom('no_instance' as const, 'not_owner' as const, 'all_saturated' as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('unanswered' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('lose' as const), who: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('die' as const), who: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('error' as const), who: fc.nat(5), retryable: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('handOver' as const),
      from: fc.integer({ min: -1, max: 1 }),
      by: fc.integer({ min: 0, max: 2 }),
      next: fc.integer({ min: -1, max: 2 }),
      id: fc.nat(4),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('askOutcome' as const), id: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('ownerChanged' as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.constantFrom(1, 99, 100, 1000, 10_000, 31_000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('leave' as const, 'slow' as const) }) },
);
type Happening = typeof happening extends fc.Arbitrary<infer T> ? T : never;

function play(story: Story, step: Happening): void {
  const epochOf = (who: number) => Math.max(0, story.state.epoch - who);
  const id = 'id' in step ? `m-${step.id}` : '';
  switch (step.do) {
    case 'say':
      story.say(Math.max(0, story.state.log.length + step.back), step.count, { epoch: epochOf(step.who) });
      break;
    case 'finish':
      story.say(Math.max(0, story.state.log.length + step.back), step.count, { epoch: epochOf(step.who), finishReason: 'stop' });
      break;
    case 'assign':
      story.admit(
        { outcome: 'assigned', epoch: Math.max(0, story.state.epoch + 1 + step.ahead), instanceId: `i-${story.state.epoch % 3}` },
        story.state.ask - step.ask,
      );
      break;
    case 'queue':
      story.admit({ outcome: 'queued', position: 1 }, story.state.ask - step.ask);
      break;
    case 'refuse':
      story.admit({ outcome: 'refused', code: step.code });
      break;
    case 'unanswered':
      story.tell({ type: 'admitFailed', ask: story.state.ask, code: 'timeout', message: '' });
      break;
    case 'lose':
      story.tell({ type: 'streamLost', epoch: epochOf(step.who), why: 'link_closed' });
      break;
    case 'die':
      story.tell({ type: 'instanceDead', instanceId: `i-${step.who % 3}` });
      break;
    case 'error':
      story.say(0, 0, { epoch: epochOf(step.who), error: { code: 'engine_error', message: '', retryable: step.retryable, retryAfterMs: 0 } });
      break;
    case 'handOver':
      story.handOver({
        fromEpoch: Math.max(0, story.state.epoch + step.from),
        toEpoch: story.state.epoch + step.by,
        nextIndex: Math.max(0, story.state.log.length + step.next),
        migrationId: id,
      });
      break;
    case 'askOutcome':
      story.tell({ type: 'handOverAsked', migrationId: id });
      break;
    case 'ownerChanged':
      story.tell({ type: 'queueOwnerChanged' });
      break;
    case 'pass':
      story.pass(step.ms);
      break;
    case 'leave':
      story.tell({ type: 'clientLeft' });
      break;
    case 'slow':
      story.tell({ type: 'clientTooSlow' });
      break;
  }
}

/** What the client has read, as the indexes of the tokens whose bytes it got. */
function read(story: Story): number[] {
  const text = story.said
    .map((effect) => (effect.type === 'forward' || effect.type === 'complete' ? new TextDecoder().decode(effect.data) : ''))
    .join('');
  return [...text.matchAll(/data: (\d+)/g)].map((match) => Number(match[1]));
}

test('each token goes to the client once and in order', () => {
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 80 }), (steps) => {
      const story = Story.streaming();
      for (const step of steps) play(story, step);
      const indexes = read(story);
      expect(indexes).toEqual(indexes.map((_, position) => position));
      expect(indexes).toHaveLength(story.state.log.length);
      expect(story.state.log.text).toBe(indexes.map((index) => `t${index} `).join(''));
    }),
    { numRuns: 2000 },
  );
});

test('the request ends once, says nothing afterwards, and stops whoever worked for it', () => {
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 80 }), (steps) => {
      const story = Story.streaming();
      for (const step of steps) {
        const before = story.state;
        const saidBefore = story.said.length;
        play(story, step);
        if (before.ending) {
          expect(story.state).toBe(before);
          expect(story.said).toHaveLength(saidBefore);
        }
      }
      const done = story.said.filter((effect) => effect.type === 'done');
      expect(done).toHaveLength(story.state.ending ? 1 : 0);
      if (story.state.ending) expect(story.said.at(-1)?.type).toBe('done');
      expect(isAsking(story.state.phase) || isSpeaking(story.state.phase)).toBe(story.state.ending === undefined);
    }),
    { numRuns: 1000 },
  );
});

test('never two epochs speak: a stream is opened under a new epoch only after the one before was cancelled or had failed', () => {
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 80 }), (steps) => {
      const story = Story.streaming();
      for (const step of steps) play(story, step);
      const opened = new Set<number>();
      const cancelled = new Set<number>();
      let newest = 0;
      for (const effect of story.said) {
        if (effect.type === 'cancel') cancelled.add(effect.epoch);
        if (effect.type !== 'open') continue;
        expect(effect.epoch).toBeGreaterThan(newest);
        for (const earlier of opened) expect(cancelled).toContain(earlier);
        opened.add(effect.epoch);
        newest = effect.epoch;
      }
      expect(newest).toBe(story.state.epoch);
    }),
    { numRuns: 1000 },
  );
});

test('the outcome of a hand-over never changes once it was told', () => {
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 60 }), (steps) => {
      const story = Story.streaming();
      const told = new Map<string, string>();
      for (const step of steps) {
        play(story, step);
        for (const { migrationId, reply } of story.state.handOvers) {
          const now = JSON.stringify(reply);
          expect(told.get(migrationId) ?? now).toBe(now);
          told.set(migrationId, now);
        }
      }
    }),
    { numRuns: 1000 },
  );
});
