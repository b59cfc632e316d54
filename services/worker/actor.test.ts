import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { refusal } from '../../core/errors/switchyard-error.ts';
import { type VoteOutcome, type VotesEffect, type VotesMessage, votesActor } from './actor.ts';

const actor = votesActor({ maxVotes: 2 });
const ballot = { voter: 'bob', decision: 'approve', actionHash: 'h', reason: '' } as const;
const accepted: VoteOutcome = { approval: { state: 'approved', votes: [], decidedAtMs: 1 }, refusal: undefined };
const refused: VoteOutcome = { approval: undefined, refusal: refusal('already_voted', 'no') };

function run(messages: readonly VotesMessage[]): VotesEffect[] {
  let state = actor.start('approval-1', 0);
  const all: VotesEffect[] = [];
  for (const message of messages) {
    const [next, effects] = actor.step(state, message, 0);
    actor.assertValid(next);
    state = next;
    all.push(...effects);
  }
  return all;
}

const vote = (voteId: string): VotesMessage => ({ type: 'vote', voteId, ballot });
const decided = (voteId: string, outcome: VoteOutcome): VotesMessage => ({ type: 'decided', voteId, outcome });
const audited = (voteId: string, failure?: ReturnType<typeof refusal>): VotesMessage => ({ type: 'audited', voteId, failure });
const types = (effects: readonly VotesEffect[]) => effects.map((effect) => effect.type);

describe('votes on one approval', () => {
  it('answers an accepted vote at once', () => {
    expect(types(run([vote('v1'), decided('v1', accepted)]))).toEqual(['ask_workflow', 'answer', 'forget']);
  });

  it('writes a refused vote down before it answers', () => {
    expect(types(run([vote('v1'), decided('v1', refused)]))).toEqual(['ask_workflow', 'audit_refused']);
    expect(types(run([vote('v1'), decided('v1', refused), audited('v1')]))).toEqual(['ask_workflow', 'audit_refused', 'answer', 'forget']);
  });

  it('asks the voter to try again when the refusal could not be written down', () => {
    const effects = run([vote('v1'), decided('v1', refused), audited('v1', refusal('bus_unavailable', 'away'))]);
    expect(effects.find((effect) => effect.type === 'answer')).toMatchObject({ outcome: { refusal: { code: 'bus_unavailable', retryable: true } } });
  });

  it('refuses more votes at a time than it holds', () => {
    const effects = run([vote('v1'), vote('v2'), vote('v3')]);
    expect(effects.at(-1)).toMatchObject({ type: 'answer', voteId: 'v3', outcome: { refusal: { code: 'mailbox_full' } } });
  });

  it('answers every vote at most once, and a refused one only after its audit record, in any order and with any repeats', () => {
    const message = fc.oneof(
      fc.constantFrom('v1', 'v2').map(vote),
      fc.tuple(fc.constantFrom('v1', 'v2'), fc.constantFrom(accepted, refused)).map(([id, outcome]) => decided(id, outcome)),
      fc.constantFrom('v1', 'v2').map((id) => audited(id)),
    );
    fc.assert(
      fc.property(fc.array(message, { maxLength: 12 }), (messages) => {
        let state = actor.start('approval-1', 0);
        const written = new Map<string, number>();
        for (const next of messages) {
          const [after, effects] = actor.step(state, next, 0);
          actor.assertValid(after);
          state = after;
          for (const effect of effects) {
            if (effect.type === 'audit_refused') written.set(effect.voteId, 0);
            if (effect.type === 'answer' && effect.outcome.refusal) {
              expect(next.type).toBe('audited');
              expect(written.has(effect.voteId)).toBe(true);
            }
          }
        }
      }),
    );
  });
});
