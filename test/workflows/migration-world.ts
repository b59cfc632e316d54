// Source, target and gateway of one migration, as far as ownership goes. Keeps the promises that agents and gateways
// make: idempotent commands, a pause lease, a reservation that expires, a compare-and-set of the epoch.
import { expect } from 'vitest';
import { refusal } from '../../core/errors/switchyard-error.ts';
import type { ActivityImplementations, Copied } from '../../core/workflows/activities.ts';
import type { MigrationOutcome } from '../../core/workflows/catalogue.ts';
import type { VirtualClock } from '../../lib/clock/virtual-clock.ts';
import type { MigrationPlan } from '../../proto/gen/messages.ts';
import type { World } from '../support/step-faults.ts';
import { activitiesWith } from '../support/workflow-inputs.ts';

export interface MigrationWorldOptions {
  /** The target has no room. */
  readonly full?: boolean;
  /** The sequence is written faster than it is copied. */
  readonly tooFast?: boolean;
  /** Moving the KV fails: while the source decodes on, or when it stands still. */
  readonly copyFails?: 'ahead' | 'last';
  /** The gateway has moved the request meanwhile. */
  readonly stale?: boolean;
  /** A worker that died came past the hand-over: all this is done for the second time. */
  readonly again?: boolean;
}

const bytesPerBlock = 100;

export function migrationWorld(clock: VirtualClock, plan: MigrationPlan, options: MigrationWorldOptions = {}): World<'migrateRequest'> {
  let epoch = options.stale ? plan.toEpoch + 5 : options.again ? plan.toEpoch : plan.fromEpoch;
  let committedBy = options.again ? plan.migrationId : '';
  let source: 'running' | 'gone' = options.again ? 'gone' : 'running';
  let pausedUntilMs = 0;
  let reservedUntilMs = 0;
  let taken = options.again === true;
  let copiedBlocks = 0;
  const reported: MigrationOutcome[] = [];

  const sourcePaused = () => source === 'running' && clock.now() < pausedUntilMs;
  const reserved = () => !taken && clock.now() < reservedUntilMs;

  function handOver(migrationId: string): boolean {
    if (committedBy === migrationId) return true;
    if (epoch !== plan.fromEpoch) return false;
    // The target answers only for a reservation that it still holds; the gateway replays from its token log otherwise.
    epoch = plan.toEpoch;
    committedBy = migrationId;
    taken = true;
    source = 'gone';
    return true;
  }

  async function copyAhead(): Promise<Copied> {
    if (options.copyFails === 'ahead') return { stages: 1, blocks: 9, bytes: 900, code: 'transfer_failed' };
    if (options.tooFast) return { stages: 5, blocks: 50, bytes: 5_000, code: 'too_many_stages' };
    expect(reserved(), 'copying into held blocks').toBe(true);
    copiedBlocks = 18;
    return { stages: 2, blocks: 18, bytes: 18 * bytesPerBlock, code: '' };
  }

  const activities: ActivityImplementations = activitiesWith({
    async reserveBlocks() {
      if (options.again) return { held: null, refusal: refusal('stale_epoch', 'it is here already') };
      if (options.full) return { held: null, refusal: refusal('target_full', 'no blocks') };
      if (!taken) reservedUntilMs = clock.now() + plan.reservationTtlMs;
      return { held: { kvAddress: 'tcp://target', transferToken: 'token', address: 'ws://chat-2' }, refusal: null };
    },
    preCopy: copyAhead,
    preCopyShort: copyAhead,
    async copyTransfer(_, { plan: transfer }) {
      expect(transfer.into?.reservationId, 'copies into what the migration holds').toBe(plan.migrationId);
      return await copyAhead();
    },
    async cutOver({ attempt }, { plan: asked }) {
      expect(attempt, 'attempts at a cut-over').toBeLessThanOrEqual(2);
      if (committedBy === asked.migrationId) return { committed: true, code: '', blocks: 0, bytes: 0, downtimeMs: 0 };
      if (asked.mode === 'copy') {
        expect(copiedBlocks, 'blocks copied before the cut-over').toBe(18);
        if (options.copyFails === 'last') return { committed: false, code: 'corrupt_kv', blocks: 2, bytes: 200, downtimeMs: 0 };
        pausedUntilMs = clock.now() + plan.pauseLeaseMs;
      }
      if (!handOver(asked.migrationId)) return { committed: false, code: 'stale_epoch', blocks: 2, bytes: 200, downtimeMs: 0 };
      return { committed: true, code: '', blocks: 2, bytes: 2 * bytesPerBlock, downtimeMs: 7 };
    },
    async askOutcome(_, asked) {
      const committed = committedBy === asked.migrationId;
      return { committed, code: committed ? '' : 'stale_epoch' };
    },
    async releaseSource(_, { committed }) {
      // Either the truth, or a release of something that the source no longer has.
      expect(committed, 'released as committed').toBe(committedBy !== '');
      if (committed) source = 'gone';
      else pausedUntilMs = 0;
    },
    async dropBlocks() {
      reservedUntilMs = 0;
    },
    async reportMigration(_, { outcome }) {
      reported.push(outcome);
    },
  });

  return {
    activities,
    checkAtOnce(planned) {
      if (planned.some(({ fault }) => fault === 'fails')) return;
      expect({ paused: sourcePaused(), reserved: reserved() }, 'given back, not left to expire').toEqual({ paused: false, reserved: false });
    },
    check(result, planned) {
      const committed = committedBy !== '';
      expect(epoch, 'epoch').toBe(committed ? plan.toEpoch : options.stale ? plan.toEpoch + 5 : plan.fromEpoch);
      expect({ sourceOwns: source === 'running', targetOwns: taken }, 'exactly one owner').toEqual({ sourceOwns: !committed, targetOwns: committed });
      expect(sourcePaused(), 'the source stands still').toBe(false);
      expect(reserved(), 'blocks held for nobody').toBe(false);
      expect(result, 'a migration always has an outcome').toBeDefined();
      expect(result!.outcome).toBe(committed ? 'committed' : 'aborted');
      expect(result!.code === '', 'an aborted migration says why').toBe(committed);
      const unreported = planned.some(({ fault }) => fault === 'fails') ? 0 : 1;
      expect(reported.length, 'reports of the end').toBeGreaterThanOrEqual(unreported);
      for (const report of reported) expect(report).toMatchObject({ outcome: result!.outcome, code: result!.code });
    },
  };
}
