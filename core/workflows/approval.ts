// Waits for people. The rules are core/approval/reducer.ts; this holds the state, takes votes, keeps the two clocks and
// has every change written down before it goes on.
import type { ApprovalRequest, ApprovalState } from '../../proto/gen/messages.ts';
import { type ApprovalEvent, approvalExpiresAt, isDecided, openApproval, reduceApproval } from '../approval/reducer.ts';
import { fromRefusal } from '../errors/switchyard-error.ts';
import type { ActivityCatalogue, ApprovalAudit } from './activities.ts';
import { isCancelled, type WorkflowControl } from './control.ts';
import { counted } from './story.ts';

export type ApprovalActivities = Pick<ActivityCatalogue, 'recordApproval'>;

export type VoteInput = Extract<ApprovalEvent, { type: 'vote' }>;

/** The update that casts a vote: takes a VoteInput, gives the ApprovalState after it. */
export const voteUpdate = 'vote';
/** The update that takes the question back: takes `{ by }`, gives the ApprovalState after it. */
export const withdrawUpdate = 'withdraw';
/** The query for the ApprovalState. */
export const stateQuery = 'state';

/** Ends when the approval is decided, expired or withdrawn (a cancelled workflow withdraws). */
export async function approval(request: ApprovalRequest, act: ApprovalActivities, ctl: WorkflowControl): Promise<ApprovalState> {
  let state: ApprovalState = openApproval(request);
  let unwritten: ApprovalAudit[] = [approvalAudit(state, 'requested', request.requestedBy, ctl.now())];

  ctl.tell(
    `${request.requestedBy} asks; ${counted(state.request?.quorum ?? 1, 'vote')} of others needed until ${new Date(request.expiresAtMs).toISOString()}, else it is not done`,
  );

  const check = (event: ApprovalEvent) => {
    const { refusal } = reduceApproval(state, event, ctl.now());
    if (refusal) throw fromRefusal(refusal);
  };
  const apply = (event: ApprovalEvent, actor: string): ApprovalState => {
    const before = state;
    const step = reduceApproval(before, event, ctl.now());
    if (step.refusal) throw fromRefusal(step.refusal);
    state = step.state;
    if (event.type === 'vote' && state.votes.length > before.votes.length) {
      ctl.tell(`${actor} ${event.decision === 'approve' ? 'approves' : 'rejects'}${event.reason === '' ? '' : `: ${event.reason}`}`);
      unwritten.push(approvalAudit(state, `vote-${state.votes.length}`, actor, ctl.now(), 'voted'));
    }
    if (!isDecided(before) && isDecided(state)) {
      ctl.tell(`**${state.state}**`);
      unwritten.push(approvalAudit(state, state.state, actor, ctl.now()));
    }
    return state;
  };

  ctl.handleUpdate<VoteInput, ApprovalState>(voteUpdate, (vote) => apply(vote, vote.voter), check);
  ctl.handleUpdate<{ by: string }, ApprovalState>(
    withdrawUpdate,
    ({ by }) => apply({ type: 'withdraw' }, by),
    () => check({ type: 'withdraw' }),
  );
  ctl.handleQuery(stateQuery, () => state);

  const write = async () => {
    const events = [...unwritten];
    await act.recordApproval({ approval: state, events });
    // Not before it is done: a cancelled attempt is made good by the next one. Votes may have come in meanwhile.
    unwritten = unwritten.slice(events.length);
  };

  try {
    while (!isDecided(state)) {
      if (unwritten.length > 0) await write();
      const leftMs = (approvalExpiresAt(state) ?? 0) - ctl.now();
      const changed = leftMs > 0 && (await ctl.condition(() => isDecided(state) || unwritten.length > 0, leftMs));
      if (!changed) apply({ type: 'tick' }, 'clock');
    }
  } catch (thrown) {
    if (!isCancelled(thrown)) throw thrown;
    if (!isDecided(state)) apply({ type: 'withdraw' }, 'cancelled');
  }
  await ctl.shielded(write);
  return state;
}

/** Who voted how, in brackets; empty without votes. */
export function votesOf({ votes }: ApprovalState): string {
  return votes.length === 0 ? '' : ` (${votes.map(({ voter, decision }) => `${voter}: ${decision}`).join(', ')})`;
}

/** One line of the audit log about an approval. */
export function approvalAudit(state: ApprovalState, what: string, actor: string, atMs: number, kind = what): ApprovalAudit {
  const request = state.request!;
  return {
    id: `${request.approvalId}.${what}`,
    kind: `approval.${kind}`,
    actor,
    target: request.approvalId,
    detailJson: JSON.stringify({
      action: request.action,
      pool: request.pool,
      actionHash: request.actionHash,
      state: state.state,
      votes: state.votes.map(({ voter, decision, reason }) => ({ voter, decision, reason })),
    }),
    atMs,
  };
}
