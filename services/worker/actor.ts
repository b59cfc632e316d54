// The votes on one approval on their way to its workflow. A refused one is written to the audit log before it is
// answered: Temporal keeps no trace of it. Key: approval id.
import { refusal } from '../../core/errors/switchyard-error.ts';
import { type Actor, assert, type Wake } from '../../lib/actor/actor.ts';
import type { ApprovalState, Refusal } from '../../proto/gen/messages.ts';

export interface Ballot {
  readonly voter: string;
  readonly decision: 'approve' | 'reject';
  readonly actionHash: string;
  readonly reason: string;
}

export type VoteOutcome =
  | { readonly approval: ApprovalState; readonly refusal: undefined }
  | { readonly approval: ApprovalState | undefined; readonly refusal: Refusal };

export type VotesMessage =
  | { readonly type: 'vote'; readonly voteId: string; readonly ballot: Ballot }
  /** What the workflow said, or that it could not be asked. */
  | { readonly type: 'decided'; readonly voteId: string; readonly outcome: VoteOutcome }
  | { readonly type: 'audited'; readonly voteId: string; readonly failure: Refusal | undefined };

export type VotesEffect =
  | { readonly type: 'ask_workflow'; readonly voteId: string; readonly ballot: Ballot }
  | { readonly type: 'audit_refused'; readonly voteId: string; readonly ballot: Ballot; readonly refusal: Refusal }
  | { readonly type: 'answer'; readonly voteId: string; readonly outcome: VoteOutcome }
  /** Nothing is on its way any more. */
  | { readonly type: 'forget' };

interface Pending {
  readonly ballot: Ballot;
  /** Set once the workflow has refused: answered when that is in the audit log. */
  readonly refused: VoteOutcome | undefined;
}

export interface VotesState {
  readonly votes: ReadonlyMap<string, Pending>;
}

export function votesActor(limits: { readonly maxVotes: number }): Actor<VotesState, VotesMessage, VotesEffect> {
  function step(state: VotesState, message: VotesMessage | Wake): readonly [VotesState, readonly VotesEffect[]] {
    if (message.type === 'wake') return [state, []];
    const { voteId } = message;
    const pending = state.votes.get(voteId);
    switch (message.type) {
      case 'vote': {
        if (pending) return [state, []];
        if (state.votes.size >= limits.maxVotes) {
          const full = refusal('mailbox_full', 'too many votes on this approval at once; vote again');
          return [state, [{ type: 'answer', voteId, outcome: { approval: undefined, refusal: full } }]];
        }
        return [put(state, voteId, { ballot: message.ballot, refused: undefined }), [{ type: 'ask_workflow', voteId, ballot: message.ballot }]];
      }
      case 'decided': {
        if (!pending || pending.refused) return [state, []];
        const { outcome } = message;
        if (!outcome.refusal) return answer(state, voteId, outcome);
        const next = put(state, voteId, { ...pending, refused: outcome });
        return [next, [{ type: 'audit_refused', voteId, ballot: pending.ballot, refusal: outcome.refusal }]];
      }
      case 'audited': {
        if (!pending?.refused) return [state, []];
        // A refusal that could not be written down is not given: the voter is asked to try again instead.
        return answer(state, voteId, message.failure ? { approval: undefined, refusal: message.failure } : pending.refused);
      }
    }
  }

  return {
    kind: 'votes',
    start: () => ({ votes: new Map() }),
    step,
    wakeAt: () => undefined,
    assertValid(state) {
      assert(state.votes.size <= limits.maxVotes, 'votes on their way are bounded');
      for (const { refused } of state.votes.values()) assert(!refused || refused.refusal !== undefined, 'only refused votes wait for the audit log');
    },
  };
}

function put(state: VotesState, voteId: string, pending: Pending): VotesState {
  return { votes: new Map(state.votes).set(voteId, pending) };
}

function answer(state: VotesState, voteId: string, outcome: VoteOutcome): readonly [VotesState, readonly VotesEffect[]] {
  const votes = new Map(state.votes);
  votes.delete(voteId);
  const said: VotesEffect = { type: 'answer', voteId, outcome };
  return [{ votes }, votes.size === 0 ? [said, { type: 'forget' }] : [said]];
}
