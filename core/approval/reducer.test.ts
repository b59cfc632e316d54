import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ApprovalRequest, ApprovalState } from '../../proto/gen/messages.ts';
import { pinPayload } from './pin.ts';
import { type ApprovalEvent, approvalExpiresAt, assertApprovalValid, openApproval, reduceApproval, repeatsVote, sameVoter } from './reducer.ts';

const pinned = pinPayload({ pool: 'chat', to: 1 });
const otherHash = pinPayload({ pool: 'chat', to: 0 }).actionHash;

function request(changes: Partial<ApprovalRequest> = {}): ApprovalRequest {
  return {
    approvalId: 'approval-1',
    action: 'scale_in_below_floor',
    summary: 'Scale pool chat from 2 to 1',
    details: [],
    ...pinned,
    requestedBy: 'ada',
    quorum: 2,
    requestedAtMs: 1000,
    expiresAtMs: 2000,
    useWithinMs: 500,
    parentWorkflowId: 'scale-1',
    pool: 'chat',
    ...changes,
  };
}

function ballot(voter: string, changes: Partial<ApprovalEvent & { type: 'vote' }> = {}): ApprovalEvent {
  return { type: 'vote', voter, decision: 'approve', actionHash: pinned.actionHash, reason: '', ...changes };
}

function run(start: ApprovalState, events: readonly (readonly [number, ApprovalEvent])[]): ApprovalState {
  return events.reduce((state, [atMs, event]) => reduceApproval(state, event, atMs).state, start);
}

describe('an approval', () => {
  const open = openApproval(request());
  const approved = run(open, [
    [1100, ballot('bob')],
    [1200, ballot('cy')],
  ]);

  it('is approved by a quorum of distinct people', () => {
    expect(approved).toMatchObject({ state: 'approved', decidedAtMs: 1200 });
    expect(run(open, [[1100, ballot('bob')]]).state).toBe('pending');
  });

  it('is rejected by one person', () => {
    expect(run(open, [[1100, ballot('bob', { decision: 'reject' })]])).toMatchObject({ state: 'rejected', decidedAtMs: 1100 });
  });

  it.each([
    ['the requester', ballot('ada'), 1100, 'voter_is_requester'],
    ['the requester in other letters', ballot(' ADA '), 1100, 'voter_is_requester'],
    ['a second, other vote of one person', ballot('Bob', { decision: 'reject' }), 1100, 'already_voted'],
    ['a vote on other bytes', ballot('cy', { actionHash: otherHash }), 1100, 'hash_mismatch'],
    ['a nameless vote', ballot(' '), 1100, 'invalid_request'],
    ['an unknown decision', ballot('cy', { decision: 'maybe' as 'approve' }), 1100, 'invalid_request'],
    ['a vote at the moment of expiry', ballot('cy'), 2000, 'approval_expired'],
  ])('refuses %s', (_what, event, atMs, code) => {
    const before = run(open, [[1050, ballot('bob')]]);
    const step = reduceApproval(before, event, atMs);
    expect(step.refusal?.code).toBe(code);
    expect(step.state.votes).toEqual(before.votes);
  });

  it('refuses votes once it is decided', () => {
    expect(reduceApproval(approved, ballot('dee', { decision: 'reject' }), 1300).refusal?.code).toBe('approval_closed');
  });

  it('takes the same vote again, which changes nothing: its answer was lost', () => {
    const before = run(open, [[1050, ballot('bob', { reason: 'quiet night' })]]);
    expect(reduceApproval(before, ballot('Bob'), 1100)).toEqual({ state: before, refusal: undefined });
    expect(reduceApproval(approved, ballot('cy'), 1300)).toEqual({ state: approved, refusal: undefined });
    const late = reduceApproval(approved, ballot('cy'), 1700);
    expect(late).toMatchObject({ state: { state: 'expired', votes: approved.votes }, refusal: undefined });
    expect(reduceApproval(approved, ballot('cy', { actionHash: otherHash }), 1300).refusal?.code).toBe('approval_closed');
  });

  it('counts a quorum of 0 as 1', () => {
    expect(openApproval(request({ quorum: 0 })).request.quorum).toBe(1);
  });

  it('runs once, on the same bytes, within its time', () => {
    const running = reduceApproval(approved, { type: 'execute', actionHash: pinned.actionHash }, 1699);
    expect(running).toMatchObject({ state: { state: 'executing' }, refusal: undefined });
    expect(reduceApproval(running.state, { type: 'execute', actionHash: pinned.actionHash }, 1699).refusal?.code).toBe('approval_closed');
    expect(reduceApproval(approved, { type: 'execute', actionHash: otherHash }, 1300).refusal?.code).toBe('hash_mismatch');
    expect(reduceApproval(approved, { type: 'execute', actionHash: pinned.actionHash }, 1700)).toMatchObject({
      state: { state: 'expired' },
      refusal: { code: 'approval_expired' },
    });
    expect(reduceApproval(open, { type: 'execute', actionHash: pinned.actionHash }, 1300).refusal?.code).toBe('approval_required');
    expect(reduceApproval(running.state, { type: 'end', state: 'verified' }, 9999).state.state).toBe('verified');
  });

  it('can be withdrawn until it runs', () => {
    expect(reduceApproval(open, { type: 'withdraw' }, 1100).state.state).toBe('withdrawn');
    expect(reduceApproval(approved, { type: 'withdraw' }, 1300).state.state).toBe('withdrawn');
    const running = reduceApproval(approved, { type: 'execute', actionHash: pinned.actionHash }, 1300).state;
    expect(reduceApproval(running, { type: 'withdraw' }, 1400).refusal?.code).toBe('approval_closed');
  });
});

// E20: the properties that every approval must have, whatever happens in whatever order.
describe('any history of an approval', () => {
  const people = ['ada', 'Ada', 'bob', 'BOB ', 'cy', 'dee', ''];
  const event: fc.Arbitrary<ApprovalEvent> = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        type: fc.constant('vote' as const),
        voter: fc.constantFrom(...people),
        decision: fc.oneof({ weight: 5, arbitrary: fc.constant('approve' as const) }, fc.constant('reject' as const)),
        actionHash: fc.oneof({ weight: 5, arbitrary: fc.constant(pinned.actionHash) }, fc.constant(otherHash)),
        reason: fc.constant(''),
      }),
    },
    fc.constant({ type: 'tick' as const }),
    fc.constant({ type: 'withdraw' as const }),
    fc.record({ type: fc.constant('execute' as const), actionHash: fc.constantFrom(pinned.actionHash, otherHash) }),
    fc.record({ type: fc.constant('end' as const), state: fc.constantFrom('verified' as const, 'failed' as const) }),
  );
  const history = fc.record({
    quorum: fc.integer({ min: 0, max: 3 }),
    events: fc.array(fc.tuple(fc.integer({ min: 0, max: 200 }), event), { maxLength: 30 }),
  });

  function* steps(input: { quorum: number; events: [number, ApprovalEvent][] }) {
    let state: ApprovalState = openApproval(request({ quorum: input.quorum }));
    let nowMs = 1000;
    for (const [laterMs, next] of input.events) {
      nowMs += laterMs;
      const before = state;
      const step = reduceApproval(before, next, nowMs);
      state = step.state;
      yield { before, next, nowMs, ...step };
    }
  }

  it('reaches execution only through a quorum of distinct people other than the requester, on the same bytes, in time', () => {
    fc.assert(
      fc.property(history, (input) => {
        const approvals = new Map<string, number>();
        for (const { before, next, nowMs, state, refusal } of steps(input)) {
          assertApprovalValid(state);
          if (
            next.type === 'vote' &&
            next.decision === 'approve' &&
            next.actionHash === pinned.actionHash &&
            !sameVoter(next.voter, 'ada') &&
            next.voter.trim() &&
            nowMs < 2000
          )
            approvals.set(next.voter.trim().toLowerCase(), nowMs);
          if (state.state === 'approved' && before.state === 'pending') expect(approvals.size).toBeGreaterThanOrEqual(Math.max(1, input.quorum));
          if (state.state === 'executing' && before.state !== 'executing') {
            expect(before.state).toBe('approved');
            expect(refusal).toBeUndefined();
            expect(nowMs).toBeLessThan(before.decidedAtMs + 500);
          }
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('never flips: a decision stays, and a late vote changes nothing', () => {
    const allowed: Record<string, string[]> = {
      pending: ['pending', 'approved', 'rejected', 'expired', 'withdrawn'],
      approved: ['approved', 'expired', 'withdrawn', 'executing'],
      executing: ['executing', 'verified', 'failed'],
    };
    fc.assert(
      fc.property(history, (input) => {
        for (const { before, next, state, refusal } of steps(input)) {
          expect(allowed[before.state] ?? [before.state]).toContain(state.state);
          if (next.type !== 'vote' || before.state === 'pending') continue;
          expect(refusal === undefined).toBe(repeatsVote(before, next));
          expect(state.votes).toEqual(before.votes);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('always ends: when its time is over it is neither pending nor waiting to be used', () => {
    fc.assert(
      fc.property(history, (input) => {
        let last: ApprovalState = openApproval(request({ quorum: input.quorum }));
        for (const { state } of steps(input)) last = state;
        const atMs = approvalExpiresAt(last);
        const after = reduceApproval(last, { type: 'tick' }, atMs ?? 1e9).state;
        expect(['pending', 'approved']).not.toContain(after.state);
      }),
    );
  });
});
