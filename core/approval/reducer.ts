// The life of an approval as a pure state machine: pending, then approved, rejected, expired or withdrawn; an approved
// one is executed once, within its time, and ends verified or failed. Default is no on both clocks.
//
//   pending --votes--> approved --execute--> executing --> verified | failed
//      |                  | use-within time over: expired
//      +--> rejected | expired (time to decide over) | withdrawn
import type { ApprovalRequest, ApprovalState, Refusal, Vote } from '../../proto/gen/messages.ts';
import type { Code } from '../errors/codes.ts';
import { refusal } from '../errors/switchyard-error.ts';

export type ApprovalStateName = ApprovalState['state'];

export type ApprovalEvent =
  | { readonly type: 'vote'; readonly voter: string; readonly decision: 'approve' | 'reject'; readonly actionHash: string; readonly reason: string }
  | { readonly type: 'withdraw' }
  /** Time has passed. */
  | { readonly type: 'tick' }
  /** About to run: `actionHash` is of the bytes that will run. */
  | { readonly type: 'execute'; readonly actionHash: string }
  | { readonly type: 'end'; readonly state: 'verified' | 'failed' };

export interface ApprovalStep {
  /** The state after the event; after a refusal only an expiry can have changed it. */
  readonly state: ApprovalState;
  readonly refusal: Refusal | undefined;
}

/** An open approval without votes. A quorum of 0 counts as 1: nothing approves itself. */
export function openApproval(request: ApprovalRequest): ApprovalState & { request: ApprovalRequest } {
  return { request: { ...request, quorum: Math.max(1, request.quorum) }, state: 'pending', votes: [], decidedAtMs: 0 };
}

/** Names are compared without case and outer white space, so that one person cannot vote as two. */
export function sameVoter(a: string, b: string): boolean {
  return a.trim().toLowerCase() === b.trim().toLowerCase();
}

/** Whether the vote was cast before and counts: its answer was lost, and whoever voted asks again. The first reason stays. */
export function repeatsVote({ votes }: ApprovalState, again: Pick<Vote, 'voter' | 'decision' | 'actionHash'>): boolean {
  return votes.some((item) => sameVoter(item.voter, again.voter) && item.decision === again.decision && item.actionHash === again.actionHash);
}

/** When `tick` will change the state, or undefined when time has no say any more. */
export function approvalExpiresAt(state: ApprovalState): number | undefined {
  const request = requestOf(state);
  if (state.state === 'pending') return request.expiresAtMs;
  if (state.state === 'approved') return state.decidedAtMs + request.useWithinMs;
  return undefined;
}

/** No event changes a closed approval any more, apart from the report of how its execution ended. */
export function isDecided(state: ApprovalState): boolean {
  return state.state !== 'pending';
}

/** One event. Refused ones leave the state as it was, but for an expiry that was due. */
export function reduceApproval(before: ApprovalState, event: ApprovalEvent, nowMs: number): ApprovalStep {
  const state = expire(before, nowMs);
  switch (event.type) {
    case 'tick':
      return accepted(state);
    case 'vote':
      return vote(state, event, nowMs);
    case 'withdraw':
      if (state.state === 'pending' || state.state === 'approved') return accepted({ ...state, state: 'withdrawn', decidedAtMs: nowMs });
      return refused(state, closedCode(state), `the approval is ${state.state} and cannot be withdrawn`);
    case 'execute':
      return execute(state, event.actionHash);
    case 'end':
      if (state.state === 'executing') return accepted({ ...state, state: event.state });
      return refused(state, closedCode(state), `the approval is ${state.state}, nothing is being executed`);
  }
}

/** Throws on a broken invariant. */
export function assertApprovalValid(state: ApprovalState): void {
  const request = requestOf(state);
  const approvals = state.votes.filter((item) => item.decision === 'approve');
  const check = (holds: boolean, what: string) => {
    if (!holds) throw new Error(`invariant broken: ${what} (${request.approvalId})`);
  };
  for (const [index, item] of state.votes.entries()) {
    check(!sameVoter(item.voter, request.requestedBy), 'the requester has no vote');
    check(item.actionHash === request.actionHash, 'every vote is for the same action');
    check(!state.votes.slice(0, index).some((other) => sameVoter(other.voter, item.voter)), 'one vote a person');
  }
  if (state.state === 'pending')
    check(approvals.length < request.quorum && approvals.length === state.votes.length, 'a pending approval lacks votes');
  const ran: readonly ApprovalStateName[] = ['approved', 'executing', 'verified', 'failed'];
  if (ran.includes(state.state))
    check(approvals.length >= request.quorum && approvals.length === state.votes.length, 'approved by a quorum, rejected by nobody');
}

function vote(state: ApprovalState, event: ApprovalEvent & { type: 'vote' }, nowMs: number): ApprovalStep {
  const request = requestOf(state);
  if (repeatsVote(state, event)) return accepted(state);
  if (state.state === 'expired') return refused(state, 'approval_expired', 'the time to decide is over; ask for the action again');
  if (state.state !== 'pending') return refused(state, 'approval_closed', `the approval is already ${state.state}`);
  if (event.voter.trim() === '') return refused(state, 'invalid_request', 'a vote needs the name of its voter');
  if (event.decision !== 'approve' && event.decision !== 'reject') return refused(state, 'invalid_request', 'a vote is approve or reject');
  if (sameVoter(event.voter, request.requestedBy)) return refused(state, 'voter_is_requester', 'who asked for the action cannot decide on it');
  if (state.votes.some((item) => sameVoter(item.voter, event.voter)))
    return refused(state, 'already_voted', `${event.voter} has voted otherwise already`);
  if (event.actionHash !== request.actionHash)
    return refused(state, 'hash_mismatch', 'the vote names another action than the one to be run; look at it again');
  const cast: Vote = { voter: event.voter, decision: event.decision, actionHash: event.actionHash, reason: event.reason, atMs: nowMs };
  const votes = [...state.votes, cast];
  if (event.decision === 'reject') return accepted({ ...state, votes, state: 'rejected', decidedAtMs: nowMs });
  if (votes.length < request.quorum) return accepted({ ...state, votes });
  return accepted({ ...state, votes, state: 'approved', decidedAtMs: nowMs });
}

function execute(state: ApprovalState, actionHash: string): ApprovalStep {
  if (state.state !== 'approved') return refused(state, closedCode(state), `the approval is ${state.state}`);
  if (actionHash !== requestOf(state).actionHash) return refused(state, 'hash_mismatch', 'what is about to run is not what was approved');
  return accepted({ ...state, state: 'executing' });
}

function expire(state: ApprovalState, nowMs: number): ApprovalState {
  const expiresAtMs = approvalExpiresAt(state);
  if (expiresAtMs === undefined || nowMs < expiresAtMs) return state;
  return { ...state, state: 'expired', decidedAtMs: state.decidedAtMs || expiresAtMs };
}

/** Why an action that needs this approval may not run. */
export function closedCode(state: ApprovalState): Code {
  if (state.state === 'pending') return 'approval_required';
  if (state.state === 'rejected') return 'approval_rejected';
  if (state.state === 'expired') return 'approval_expired';
  if (state.state === 'withdrawn') return 'cancelled';
  return 'approval_closed';
}

function requestOf(state: ApprovalState): ApprovalRequest {
  if (!state.request) throw new Error('invariant broken: an approval has a request');
  return state.request;
}

function accepted(state: ApprovalState): ApprovalStep {
  return { state, refusal: undefined };
}

function refused(state: ApprovalState, code: Code, message: string): ApprovalStep {
  return { state, refusal: refusal(code, message) };
}
