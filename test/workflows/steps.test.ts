// Every workflow under "fail each step", "repeat each step", "repeat each undo" and "cancel at each step": whatever goes
// wrong where, the world is left in order.
import { describe, expect, it } from 'vitest';
import { drainApproval } from '../../core/approval/requests.ts';
import type { ActivityName } from '../../core/workflows/activities.ts';
import { voteUpdate } from '../../core/workflows/approval.ts';
import type { DrainPlan, WorkflowName } from '../../core/workflows/catalogue.ts';
import { sleep } from '../../lib/ports/clock.ts';
import { type PlannedFault, runWithEachFault, runWithFaults, type Subject } from '../support/step-faults.ts';
import { activitiesWith, approvalRequest, drainPlan, migrationPlan, scalePlan, transferPlan } from '../support/workflow-inputs.ts';
import { type FleetWorldOptions, fleetWorld } from './fleet-world.ts';
import { type MigrationWorldOptions, migrationWorld } from './migration-world.ts';

/** Steps that could not be done or undone for good: what they would have left is not checked. */
const failedForGood = (planned: PlannedFault[]) => planned.some(({ fault }) => fault === 'fails');

async function survives<N extends WorkflowName>(subject: Subject<N>, steps: readonly ActivityName[]): Promise<void> {
  const report = await runWithEachFault(subject);
  expect(report.steps).toEqual(steps);
  expect(report.runs).toBeGreaterThan(steps.length * 7);
}

function migration(changes: Parameters<typeof migrationPlan>[0], world: MigrationWorldOptions = {}): Subject<'migrateRequest'> {
  const plan = migrationPlan(changes);
  return { name: 'migrateRequest', id: plan.migrationId, input: () => plan, world: (clock) => migrationWorld(clock, plan, world) };
}

describe('migrateRequest', () => {
  it('leaves exactly one owner, nothing reserved and nothing paused', () =>
    survives(migration({}), ['reserveBlocks', 'preCopy', 'cutOver', 'releaseSource', 'reportMigration']));

  it('does so when it recomputes', () => survives(migration({ mode: 'recompute' }), ['cutOver', 'releaseSource', 'reportMigration']));

  it('does so when the copy is a workflow of its own', () =>
    survives(migration({ bulkCopy: true }), ['reserveBlocks', 'copyTransfer', 'cutOver', 'releaseSource', 'reportMigration']));

  it('does so when the copy is short', () =>
    survives(migration({ shortCopy: true }), ['reserveBlocks', 'preCopyShort', 'cutOver', 'releaseSource', 'reportMigration']));

  it('does so when the copy is short and the target is full', () =>
    survives(migration({ shortCopy: true }, { full: true }), ['reserveBlocks', 'askOutcome', 'releaseSource', 'dropBlocks', 'reportMigration']));

  it('believes the gateway when a worker that died had done it all before', async () => {
    const again = await runWithFaults(migration({ shortCopy: true }, { again: true }), []);
    expect(again.calls).toEqual(['reserveBlocks', 'askOutcome', 'releaseSource', 'reportMigration']);
    expect(again.result).toMatchObject({ outcome: 'committed', code: '' });
  });

  it('does so when the target is full', () =>
    survives(migration({}, { full: true }), ['reserveBlocks', 'releaseSource', 'dropBlocks', 'reportMigration']));

  it('does so when the copy does not catch up', () =>
    survives(migration({}, { tooFast: true }), ['reserveBlocks', 'preCopy', 'releaseSource', 'dropBlocks', 'reportMigration']));

  it('does so when the gateway refuses', () =>
    survives(migration({}, { stale: true }), ['reserveBlocks', 'preCopy', 'cutOver', 'releaseSource', 'dropBlocks', 'reportMigration']));

  it.each([
    [{}, 'ahead', ['reserveBlocks', 'preCopy', 'dropBlocks', 'cutOver', 'releaseSource', 'reportMigration']],
    [{}, 'last', ['reserveBlocks', 'preCopy', 'cutOver', 'dropBlocks', 'cutOver', 'releaseSource', 'reportMigration']],
    [{ shortCopy: true }, 'ahead', ['reserveBlocks', 'preCopyShort', 'askOutcome', 'dropBlocks', 'cutOver', 'releaseSource', 'reportMigration']],
  ] as const)('does so when moving the KV fails and the target computes it again: %o %s', (changes, copyFails, steps) =>
    survives(migration({ ...changes, recomputeInstead: true }, { copyFails }), steps),
  );

  it('recomputes only when the plan says so', async () => {
    const { result } = await runWithFaults(migration({}, { copyFails: 'last' }), []);
    expect(result).toMatchObject({ outcome: 'aborted', code: 'corrupt_kv' });
    const instead = await runWithFaults(migration({ recomputeInstead: true }, { copyFails: 'last' }), []);
    expect(instead.result).toMatchObject({ outcome: 'committed', code: '' });
    const gone = await runWithFaults(migration({ recomputeInstead: true }, { copyFails: 'last' }), [{ step: 3, fault: 'fails' }]);
    expect(gone.result, 'a target that does not answer').toMatchObject({ outcome: 'aborted', code: 'corrupt_kv' });
  });

  it('asks what became of a hand-over whose answer was lost, and believes it', async () => {
    const lost = await runWithFaults(migration({}), [{ step: 2, fault: 'is done but its answer is lost for good' }]);
    expect(lost.calls).toContain('askOutcome');
    expect(lost.result).toMatchObject({ outcome: 'committed' });
    const failed = await runWithFaults(migration({}), [{ step: 2, fault: 'fails' }]);
    expect(failed.calls).toEqual(expect.arrayContaining(['askOutcome', 'dropBlocks']));
    expect(failed.result).toMatchObject({ outcome: 'aborted' });
  });
});

describe('transferKv', () => {
  it('gives the reservation back, whatever happens', () => {
    const subject: Subject<'transferKv'> = {
      name: 'transferKv',
      id: 'transfer-1',
      input: () => transferPlan(),
      world: (clock) => {
        let reservedUntilMs = 0;
        const held = { held: { kvAddress: '', transferToken: '', address: '' }, refusal: null };
        return {
          activities: activitiesWith({
            async reserveTransfer() {
              reservedUntilMs = clock.now() + 10_000;
              return held;
            },
            async dropBlocks() {
              reservedUntilMs = 0;
            },
          }),
          checkAtOnce(planned) {
            if (!failedForGood(planned)) expect(clock.now() < reservedUntilMs, 'blocks held for nobody').toBe(false);
          },
          check(result) {
            expect(clock.now() < reservedUntilMs, 'blocks held for nobody').toBe(false);
            expect(result, 'a transfer always has an outcome').toBeDefined();
            expect(result!.code === '').toBe(result!.outcome === 'completed');
          },
        };
      },
    };
    return survives(subject, ['reserveTransfer', 'copyTransfer', 'dropBlocks']);
  });
});

describe('approval', () => {
  const subject = (drive: boolean): Subject<'approval'> => ({
    name: 'approval',
    id: 'approval-1',
    input: (clock) => approvalRequest({ expiresAtMs: clock.now() + 10_000, quorum: 1 }),
    world: (clock) => {
      const fleet = fleetWorld(clock, drive ? { approval: { id: 'approval-1', decision: 'approve', afterMs: 1_000 } } : {});
      return {
        activities: fleet.activities,
        drive: fleet.drive,
        check(result) {
          // One that cannot be written down fails: nothing runs on it.
          if (!result) return;
          expect(['approved', 'expired', 'withdrawn']).toContain(result.state);
          expect(fleet.mirror.at(-1)).toEqual(result);
          const decisions = [...fleet.audit.values()].filter((kind) => kind === `approval.${result.state}`);
          expect(decisions, 'the decision, once').toHaveLength(1);
          expect(fleet.audit.get('approval-1.requested')).toBe('approval.requested');
        },
      };
    },
  });

  it('is written down as it was decided', () => survives(subject(true), ['recordApproval', 'recordApproval']));
  it('is written down when it expires', () => survives(subject(false), ['recordApproval', 'recordApproval']));

  it('takes a vote that comes while the question is being written down, and does not wait any longer', async () => {
    const slow: Subject<'approval'> = {
      ...subject(true),
      world: (clock) => {
        const startedMs = clock.now();
        const fleet = fleetWorld(clock);
        const activities = {
          ...fleet.activities,
          recordApproval: async (...given: Parameters<typeof fleet.activities.recordApproval>) => {
            await sleep(clock, 200);
            await fleet.activities.recordApproval(...given);
          },
        };
        return {
          activities,
          async drive(workflows) {
            await sleep(clock, 100);
            const { actionHash } = approvalRequest();
            await workflows.update('approval-1', voteUpdate, { type: 'vote', voter: 'bob', decision: 'approve', actionHash, reason: '' });
          },
          checkAtOnce: () => expect(clock.now() - startedMs, 'ms until it was decided').toBeLessThan(1_000),
          check(result) {
            expect(result?.state).toBe('approved');
            expect([...fleet.audit.values()]).toEqual(['approval.requested', 'approval.voted', 'approval.approved']);
          },
        };
      },
    };
    await runWithFaults(slow, []);
  });
});

function drain(changes: Partial<DrainPlan>, world: FleetWorldOptions = {}): Subject<'drainInstance'> {
  return {
    name: 'drainInstance',
    id: 'drain-1',
    input: (clock) => {
      const plan = drainPlan(changes);
      if (!world.approval) return plan;
      const terms = { nowMs: clock.now(), expiresAtMs: clock.now() + 10_000, useWithinMs: 5_000, quorum: 1, details: [] };
      return { ...plan, approval: drainApproval(plan, terms) };
    },
    world: (clock) => {
      const fleet = fleetWorld(clock, world);
      return {
        activities: fleet.activities,
        drive: fleet.drive,
        check: (result, planned) => fleet.checkDrained(result, 'chat-1', failedForGood(planned)),
      };
    },
  };
}

describe('drainInstance', () => {
  it('empties the instance, or puts it back to work', () => survives(drain({}), ['checkDrain', 'setCordon', 'moveAway', 'confirmEmpty']));

  it('keeps the cordon and says what is left when the time is over', async () => {
    const { result } = await runWithFaults(drain({ withinMs: 3_000 }, { stuck: 2 }), []);
    expect(result).toEqual({ outcome: 'not_empty', code: 'deadline_exceeded', moved: 5, failedMoves: 2, left: 2 });
  });

  it('does what was approved, once it was', () => {
    const approval = { id: 'approval-drain-1', decision: 'approve', afterMs: 1_000 } as const;
    return survives(drain({}, { approval }), [
      'recordApproval', // requested
      'recordApproval', // approved
      'checkDrain',
      'recordApproval', // executing
      'setCordon',
      'moveAway',
      'confirmEmpty',
      'recordApproval', // verified
    ]);
  });

  it.each([
    ['rejected', { id: 'approval-drain-1', decision: 'reject', afterMs: 100 }, 'approval_rejected'],
    ['not decided in time', { id: 'approval-drain-1', afterMs: 0 }, 'approval_expired'],
  ] as const)('does nothing when it is %s', async (_, approval, code) => {
    const { calls, result } = await runWithFaults(drain({}, { approval }), []);
    expect(result).toMatchObject({ outcome: 'refused', code });
    expect(new Set(calls)).toEqual(new Set(['recordApproval']));
  });

  it('does nothing when the plan is not the one that was approved', async () => {
    const subject = drain({}, { approval: { id: 'approval-drain-1', decision: 'approve', afterMs: 100 } });
    const { calls, result } = await runWithFaults({ ...subject, input: (clock) => ({ ...subject.input(clock), instanceId: 'chat-2' }) }, []);
    expect(result).toMatchObject({ outcome: 'refused', code: 'hash_mismatch' });
    expect(calls).not.toContain('setCordon');
  });

  it('does nothing when the approval is not used in time', async () => {
    const subject = drain({}, { approval: { id: 'approval-drain-1', decision: 'approve', afterMs: 100 } });
    const { calls, result } = await runWithFaults(
      {
        ...subject,
        world: (clock) => {
          const world = subject.world(clock);
          const checkDrain = async () => {
            await sleep(clock, 4_900);
            return { refusal: null };
          };
          // The conditions are looked at twice: the first answer is lost.
          return { ...world, activities: { ...world.activities, checkDrain } };
        },
      },
      [{ step: 2, fault: 'is done but its answer is lost once' }],
    );
    expect(result).toMatchObject({ outcome: 'refused', code: 'approval_expired' });
    expect(calls).not.toContain('setCordon');
  });
});

function scale(changes: Parameters<typeof scalePlan>[0], world: FleetWorldOptions = {}): Subject<'scalePool'> {
  return {
    name: 'scalePool',
    id: 'scale-1',
    input: (clock) => scalePlan({ deadlineMs: clock.now() + 120_000, approvalExpiresMs: clock.now() + 10_000, ...changes }),
    world: (clock) => {
      const fleet = fleetWorld(clock, world);
      return {
        activities: fleet.activities,
        drive: fleet.drive,
        check(result, planned) {
          fleet.checkFleet();
          expect(result, 'a scaling always has an outcome').toBeDefined();
          expect(result!.code === '').toBe(result!.outcome === 'completed');
          if (!failedForGood(planned)) expect(fleet.reports.at(-1)).toEqual(result);
          for (const id of changes?.stopInstanceIds ?? ['chat-1']) {
            const instance = fleet.instances.get(id)!;
            if (result!.stopped.includes(id)) expect(instance.state).toBe('stopped');
            // One that goes on running serves again.
            else if (instance.state === 'running' && !failedForGood(planned)) expect(instance.cordon).toBe('none');
          }
          for (const id of changes?.startInstanceIds ?? []) {
            const state = fleet.instances.get(id)?.state;
            if (result!.started.includes(id)) expect(state).toBe('running');
            else if (!failedForGood(planned)) expect(state ?? 'stopped', `${id}, which was not reported as started`).toBe('stopped');
          }
        },
      };
    },
  };
}

describe('scalePool', () => {
  const retire: readonly ActivityName[] = ['setCordon', 'checkDrain', 'setCordon', 'moveAway', 'confirmEmpty', 'confirmEmpty', 'stopInstance'];

  it('stops only what is empty, and lets the rest serve', () => survives(scale({}), ['checkScale', ...retire, 'reportScaling']));

  it('starts instances, and stops those that do not become healthy', async () => {
    const out = { from: 2, to: 4, startInstanceIds: ['chat-3', 'chat-4'], stopInstanceIds: [] };
    await survives(scale(out), ['checkScale', 'startInstance', 'startInstance', 'awaitHealthy', 'reportScaling']);
    const { result } = await runWithFaults(scale(out, { broken: ['chat-4'] }), []);
    expect(result).toEqual({ outcome: 'failed', code: 'deadline_exceeded', started: ['chat-3'], stopped: [] });
  });

  it('lets an instance serve again that cannot be emptied', async () => {
    const { result } = await runWithFaults(scale({ drainWithinMs: 2_000 }, { stuck: 1 }), []);
    expect(result).toEqual({ outcome: 'failed', code: 'deadline_exceeded', started: [], stopped: [] });
  });

  it('waits for people where it must', async () => {
    const approval = { id: 'approval-scale-1', decision: 'approve', afterMs: 1_000 } as const;
    await survives(scale({ needsApproval: true }, { approval }), [
      'recordApproval',
      'recordApproval',
      'checkScale',
      'recordApproval',
      ...retire,
      'recordApproval',
      'reportScaling',
    ]);
  });

  it.each([
    ['rejected', { id: 'approval-scale-1', decision: 'reject', afterMs: 100 }, 'refused', 'approval_rejected'],
    ['not decided in time', { id: 'approval-scale-1', afterMs: 0 }, 'expired', 'approval_expired'],
  ] as const)('does nothing when it is %s', async (_, approval, outcome, code) => {
    const { calls, result } = await runWithFaults(scale({ needsApproval: true }, { approval }), []);
    expect(result).toMatchObject({ outcome, code });
    expect(new Set(calls)).toEqual(new Set(['recordApproval', 'reportScaling']));
  });
});
