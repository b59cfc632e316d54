// What approvals leave behind: a mirror in the store, for listing, and the audit log.
import type { ActivityImplementations } from '../../core/workflows/activities.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { ApprovalState } from '../../proto/gen/messages.ts';
import type { ActivitySettings } from '../settings.ts';

/** Where the mirror of an approval is in the store. */
export const approvalPrefix = 'approval/';

const decisions: ReadonlySet<string> = new Set(['approved', 'rejected', 'expired', 'withdrawn']);

export function approvalActivities(ports: Ports, settings: ActivitySettings): Pick<ActivityImplementations, 'recordApproval'> {
  const decided = ports.telemetry.counter('switchyard_approvals_total');
  return {
    async recordApproval(_, { approval, events }) {
      for (const { id, ...event } of events) await ports.bus.record(contracts.audit, [], event, { id, timeoutMs: settings.askMs });
      const key = approvalPrefix + approval.request?.approvalId;
      await ports.store.set(key, ApprovalState.encode(approval), { ttlMs: settings.approvalsKeptMs });
      for (const { kind } of events) {
        const result = kind.replace('approval.', '');
        if (decisions.has(result)) decided.add(1, { result });
      }
    },
  };
}
