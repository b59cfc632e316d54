// A pool of instances with requests on them, an approval's mirror and the audit log, for drains and scalings.
import { expect } from 'vitest';
import { refusal, SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { ActivityImplementations } from '../../core/workflows/activities.ts';
import { type VoteInput, voteUpdate } from '../../core/workflows/approval.ts';
import type { DrainOutcome, ScaleOutcome } from '../../core/workflows/catalogue.ts';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import { sleep } from '../../lib/ports/clock.ts';
import type { Workflows } from '../../lib/ports/workflows.ts';
import type { ApprovalState, ScalePlan } from '../../proto/gen/messages.ts';
import { activitiesWith } from '../support/workflow-inputs.ts';

interface Instance {
  state: 'starting' | 'running' | 'stopped';
  cordon: string;
  requests: Set<string>;
}

export interface FleetWorldOptions {
  /** Requests on chat-1 that cannot be moved. */
  readonly stuck?: number;
  /** Instances that never become healthy. */
  readonly broken?: readonly string[];
  readonly approval?: { readonly id: string; readonly decision?: 'approve' | 'reject'; readonly afterMs: number };
}

export function fleetWorld(clock: VirtualClock, options: FleetWorldOptions = {}) {
  const all = new Set([
    ...Array.from({ length: 5 }, (_, index) => `req-${index}`),
    ...Array.from({ length: options.stuck ?? 0 }, (_, index) => `stuck-${index}`),
  ]);
  const instances = new Map<string, Instance>([
    ['chat-1', { state: 'running', cordon: 'none', requests: new Set(all) }],
    ['chat-2', { state: 'running', cordon: 'none', requests: new Set() }],
  ]);
  const mirror: ApprovalState[] = [];
  const audit = new Map<string, string>();
  const reports: ScaleOutcome[] = [];
  const at = (id: string) => instances.get(id) ?? { state: 'stopped' as const, cordon: 'none', requests: new Set<string>() };

  const activities: ActivityImplementations = activitiesWith({
    async checkDrain(_, plan) {
      return { refusal: at(plan.instanceId).state === 'running' ? null : refusal('unknown_instance', plan.instanceId) };
    },
    async setCordon(_, { instanceId, reason }) {
      const instance = instances.get(instanceId);
      if (instance) instance.cordon = reason;
    },
    async moveAway(_, plan) {
      const moves = [];
      for (const requestId of [...at(plan.instanceId).requests]) {
        if (requestId.startsWith('stuck')) {
          moves.push({ requestId, migrationId: '', code: 'no_target' });
          continue;
        }
        at(plan.instanceId).requests.delete(requestId);
        at('chat-2').requests.add(requestId);
        moves.push({ requestId, migrationId: `mig-${requestId}`, code: '' });
      }
      return { moves, left: at(plan.instanceId).requests.size };
    },
    async confirmEmpty(_, { instanceId }) {
      return { left: at(instanceId).requests.size };
    },
    async checkScale(_, plan: ScalePlan) {
      const missing = plan.stopInstanceIds.some((id) => at(id).state !== 'running');
      return { refusal: missing ? refusal('conditions_changed', 'gone') : null };
    },
    async startInstance(_, { instanceId }) {
      if (!instances.has(instanceId)) instances.set(instanceId, { state: 'starting', cordon: 'none', requests: new Set() });
      return { refusal: null };
    },
    async awaitHealthy(_, { instanceIds, untilMs }) {
      const healthy = [];
      for (const id of instanceIds) {
        if (options.broken?.includes(id)) continue;
        const instance = at(id);
        if (instance.state === 'starting') instance.state = 'running';
        if (instance.state === 'running') healthy.push(id);
      }
      if (healthy.length < instanceIds.length) await sleep(clock, Math.min(untilMs - clock.now(), 60_000));
      return { healthy };
    },
    async stopInstance(_, { instanceId }) {
      const instance = instances.get(instanceId);
      if (!instance) return { refusal: null };
      expect(instance.requests.size, `requests on ${instanceId} when it is stopped`).toBe(0);
      instance.state = 'stopped';
      return { refusal: null };
    },
    async reportScaling(_, { outcome }) {
      reports.push(outcome);
    },
    async recordApproval(_, { approval, events }) {
      mirror.push(approval);
      for (const event of events) audit.set(event.id, event.kind);
    },
  });

  async function drive(workflows: Workflows): Promise<void> {
    const { approval } = options;
    if (!approval?.decision) return;
    const asked = mirror.length;
    for (let tries = 0; tries < 100 && mirror.length === asked; tries++) await sleep(clock, 50);
    await sleep(clock, approval.afterMs);
    const actionHash = mirror[0]?.request?.actionHash ?? '';
    const vote: VoteInput = { type: 'vote', voter: 'bob', decision: approval.decision, actionHash, reason: '' };
    await workflows.update(approval.id, voteUpdate, vote).catch((thrown: unknown) => {
      if (!(thrown instanceof SwitchyardError)) throw thrown;
    });
  }

  /** What must hold of the fleet whatever happened. */
  function checkFleet(): void {
    const found = [...instances.values()].flatMap((instance) => [...instance.requests]).sort();
    expect(found, 'every request is in one place').toEqual([...all].sort());
    for (const [id, instance] of instances)
      if (instance.state === 'stopped') expect([...instance.requests], `on ${id}, which was stopped`).toEqual([]);
  }

  return {
    activities,
    drive,
    instances,
    mirror,
    audit,
    reports,
    all,
    checkFleet,
    checkDrained(outcome: DrainOutcome | undefined, instanceId: string, undoFailed: boolean): void {
      checkFleet();
      expect(outcome, 'a drain always has an outcome').toBeDefined();
      if (outcome!.outcome === 'empty') {
        expect([...at(instanceId).requests]).toEqual([]);
        expect(at(instanceId).cordon).not.toBe('none');
      }
      if (outcome!.outcome === 'not_empty') expect(at(instanceId).cordon).not.toBe('none');
      if ((outcome!.outcome === 'cancelled' || outcome!.outcome === 'refused') && !undoFailed)
        expect(at(instanceId).cordon, 'cordon after an undone drain').toBe('none');
      expect(outcome!.code === '', 'a drain that did not empty says why').toBe(outcome!.outcome === 'empty');
    },
  };
}
