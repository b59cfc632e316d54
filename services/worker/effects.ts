// What the worker does to the world for approvals: asks their workflows, writes refused votes to the audit log, reads
// the mirror in the store.
import { reduceApproval, repeatsVote } from '../../core/approval/reducer.ts';
import { refusal, SwitchyardError, toRefusal } from '../../core/errors/switchyard-error.ts';
import { type VoteInput, voteUpdate } from '../../core/workflows/approval.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { ApprovalState, type Refusal } from '../../proto/gen/messages.ts';
import { approvalPrefix } from '../../workflows/approval/activities.ts';
import type { Ballot, VoteOutcome } from './actor.ts';

export function createEffects(ports: Ports, config: { readonly askMs: number }) {
  const { bus, clock, store, workflows } = ports;

  async function mirrored(approvalId: string): Promise<ApprovalState | undefined> {
    const bytes = await store.get(approvalPrefix + approvalId);
    return bytes && asOfNow(ApprovalState.decode(bytes));
  }

  /** The two clocks go on while nobody looks: what is over is shown as over. */
  function asOfNow(state: ApprovalState): ApprovalState {
    return reduceApproval(state, { type: 'tick' }, clock.now()).state;
  }

  return {
    /** Never throws. */
    async askWorkflow(approvalId: string, ballot: Ballot): Promise<VoteOutcome> {
      try {
        const input: VoteInput = { type: 'vote', ...ballot };
        return { approval: await workflows.update<ApprovalState>(approvalId, voteUpdate, input), refusal: undefined };
      } catch (thrown) {
        if (!(thrown instanceof SwitchyardError) || thrown.code !== 'workflow_not_found') return { approval: undefined, refusal: toRefusal(thrown) };
      }
      // The workflow has ended, or there never was one: the mirror knows.
      try {
        const known = await mirrored(approvalId);
        if (!known)
          return { approval: undefined, refusal: refusal('unknown_approval', `there is no approval ${approvalId}; see "switchyard approvals"`) };
        if (repeatsVote(known, ballot)) return { approval: known, refusal: undefined };
        if (known.state === 'expired')
          return { approval: known, refusal: refusal('approval_expired', 'the time to decide is over; ask for the action again') };
        return { approval: known, refusal: refusal('approval_closed', `the approval is already ${known.state}`) };
      } catch (thrown) {
        return { approval: undefined, refusal: toRefusal(thrown) };
      }
    },

    /** Undefined: it is in the log. Otherwise why not. */
    async auditRefused(approvalId: string, voteId: string, ballot: Ballot, why: Refusal): Promise<Refusal | undefined> {
      const { voter, decision, actionHash, reason } = ballot;
      const detailJson = JSON.stringify({ decision, actionHash, reason, code: why.code, message: why.message });
      const event = { kind: 'approval.vote_refused', actor: voter, target: approvalId, detailJson, atMs: clock.now() };
      try {
        await bus.record(contracts.audit, [], event, { id: `${approvalId}.refused.${voteId}`, timeoutMs: config.askMs });
        return undefined;
      } catch (thrown) {
        return toRefusal(thrown);
      }
    },

    /** Newest first. @throws SwitchyardError store_unavailable */
    async listApprovals(includeEnded: boolean): Promise<ApprovalState[]> {
      const entries = await store.list(approvalPrefix);
      const open: ReadonlySet<string> = new Set(['pending', 'approved', 'executing']);
      return entries
        .map(({ value }) => asOfNow(ApprovalState.decode(value)))
        .filter((approval) => includeEnded || open.has(approval.state))
        .sort((a, b) => (b.request?.requestedAtMs ?? 0) - (a.request?.requestedAtMs ?? 0));
    },
  };
}
