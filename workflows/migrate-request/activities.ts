// What migrateRequest does to the world: commands to both agents, and the hand-over at the gateway.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { carriesKv } from '../../core/migration/mode.ts';
import type { ActivityImplementations, Copied, CutOver, Held, Reserved } from '../../core/workflows/activities.ts';
import type { ActivityContext } from '../../core/workflows/control.ts';
import * as contracts from '../../lib/contracts.ts';
import { type Gateway, handOverForSure, handOverLimit, whyNotCommitted } from '../../lib/migration/hand-over.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { HandOverReply, MigrationPlan, ReserveReply } from '../../proto/gen/messages.ts';
import { type CopyJob, copyInStages, copyStage } from '../copy-stages.ts';
import type { ActivitySettings } from '../settings.ts';

type Names = 'reserveBlocks' | 'preCopy' | 'preCopyShort' | 'cutOver' | 'askOutcome' | 'releaseSource' | 'dropBlocks' | 'reportMigration';

/** With the policy's back-off this is about nine seconds. */
const triesUntilGone = 9;

export function migrateRequestActivities(ports: Ports, settings: ActivitySettings): Pick<ActivityImplementations, Names> {
  const { bus, clock, telemetry } = ports;
  const ended = telemetry.counter('switchyard_workflows_total');

  /** After a final question a hand-over that has not come is refused when it comes. */
  async function ask(plan: MigrationPlan, final: boolean): Promise<HandOverReply> {
    const { requestId, migrationId } = plan;
    return bus.request(contracts.handOverOutcome, [plan.gatewayId], { requestId, migrationId, final }, { timeoutMs: settings.askMs });
  }

  function handOver(plan: MigrationPlan, address: string, nextIndex: number, withinMs: number): Promise<HandOverReply> {
    const attributes = {
      'switchyard.request.id': plan.requestId,
      'switchyard.migration.id': plan.migrationId,
      'switchyard.from_epoch': plan.fromEpoch,
      'switchyard.to_epoch': plan.toEpoch,
      'switchyard.next_index': nextIndex,
    };
    return telemetry.span('migrate.hand_over', { attributes }, async (span) => {
      const command = {
        requestId: plan.requestId,
        migrationId: plan.migrationId,
        fromEpoch: plan.fromEpoch,
        toEpoch: plan.toEpoch,
        instanceId: plan.targetInstanceId,
        address,
        reservationId: carriesKv(plan.mode) ? plan.migrationId : '',
        mode: plan.mode,
        nextIndex,
      };
      const gateway: Gateway = {
        handOver: (timeoutMs) => bus.request(contracts.handOver, [plan.gatewayId], command, { timeoutMs, id: plan.migrationId }),
        finalOutcome: () => ask(plan, true),
      };
      const reply = await handOverForSure(clock, gateway, { withinMs, outcomeMs: settings.outcomeMs }, (thrown) =>
        span.event('answer lost, asking for the outcome', { 'error.type': thrown instanceof SwitchyardError ? thrown.code : 'internal' }),
      );
      span.set({ 'switchyard.outcome': reply.outcome });
      return reply;
    });
  }

  /** Nothing of the hand-over has been sent: whatever happens here leaves the request with the source. */
  async function copyRest(plan: MigrationPlan, job: CopyJob, stage: number) {
    const pausedFromMs = clock.now();
    try {
      const timeoutMs = plan.pauseLeaseMs;
      const reply = await copyStage(ports, job, { stage, last: true, pauseLeaseMs: plan.pauseLeaseMs, timeoutMs });
      return { reply, code: reply.refusal?.code ?? '', pausedFromMs };
    } catch (thrown) {
      if (!(thrown instanceof SwitchyardError)) throw thrown;
      return { reply: undefined, code: thrown.code, pausedFromMs };
    }
  }

  function preCopy(context: ActivityContext, { plan, held }: { plan: MigrationPlan; held: Held }): Promise<Copied> {
    const limits = { maxStages: plan.maxStages, enoughBlocks: plan.lastStageBlocks, deadlineMs: plan.deadlineMs };
    return copyInStages(ports, settings, jobOf(plan, held), limits, context);
  }

  return {
    async reserveBlocks(_, plan): Promise<Reserved> {
      const reply = await bus.request(
        contracts.reserve,
        [plan.targetInstanceId],
        {
          instanceId: plan.targetInstanceId,
          reservationId: plan.migrationId,
          requestId: plan.requestId,
          epoch: plan.toEpoch,
          blocks: plan.reserveBlocks,
          ttlMs: plan.reservationTtlMs,
          purpose: 'migration',
          sourceInstanceId: plan.sourceInstanceId,
        },
        { timeoutMs: settings.askMs },
      );
      return reservedOf(reply);
    },

    preCopy,
    preCopyShort: preCopy,

    async cutOver(context, { plan, held, stage }): Promise<CutOver> {
      const nothing = { committed: false, code: '', blocks: 0, bytes: 0, downtimeMs: 0 };
      // An earlier attempt may have come as far as the hand-over, and died.
      const before = await ask(plan, false);
      if (before.outcome === 'committed') return { ...nothing, committed: true };
      if (before.outcome === 'unknown_request') return { ...nothing, code: 'unknown_request' };
      if (context.signal.aborted) return { ...nothing, code: 'cancelled' };
      if (!held) {
        const startedMs = clock.now();
        return outcomeOf(await handOver(plan, plan.targetAddress, 0, settings.handOverMs), { ...nothing, downtimeMs: clock.now() - startedMs });
      }
      const { reply, code, pausedFromMs } = await copyRest(plan, jobOf(plan, held), stage);
      if (!reply || code !== '') return { ...nothing, code };
      const copied = { ...nothing, blocks: reply.blocksSent, bytes: reply.bytesSent };
      const withinMs = handOverLimit(clock.now(), pausedFromMs, plan.pauseLeaseMs, settings.handOverMs);
      if (withinMs === undefined) return { ...copied, code: 'deadline_exceeded' };
      const answer = await handOver(plan, held.address || plan.targetAddress, reply.nextIndex, withinMs);
      return outcomeOf(answer, { ...copied, downtimeMs: Math.max(0, clock.now() - (reply.pausedAtMs || pausedFromMs)) });
    },

    async askOutcome(context, plan) {
      try {
        const { committed, code } = outcomeOf(await ask(plan, true), { blocks: 0, bytes: 0, downtimeMs: 0 });
        return { committed, code };
      } catch (thrown) {
        // Slow is not gone: only a gateway that is not even subscribed, try after try, has died.
        if (!(thrown instanceof SwitchyardError) || thrown.code !== 'no_responders' || context.attempt < triesUntilGone) throw thrown;
        return { committed: false, code: 'unreachable' };
      }
    },

    async releaseSource(_, { plan, committed }) {
      const reply = await bus.request(
        contracts.release,
        [plan.sourceInstanceId],
        { instanceId: plan.sourceInstanceId, requestId: plan.requestId, epoch: plan.fromEpoch, committed },
        { timeoutMs: settings.askMs },
      );
      // A source that does not know the sequence any more has nothing to release.
      if (reply.refusal)
        telemetry.log.info('source did not release', { request: plan.requestId, instance: plan.sourceInstanceId, code: reply.refusal.code });
    },

    async dropBlocks(_, { instanceId, reservationId }) {
      await bus.request(contracts.dropReservation, [instanceId], { instanceId, reservationId }, { timeoutMs: settings.askMs });
    },

    async reportMigration(_, { plan, outcome }) {
      ended.add(1, { workflow: 'migrateRequest', outcome: outcome.outcome });
      const { migrationId, requestId, pool, sourceInstanceId, targetInstanceId, reason, mode } = plan;
      const { stages, blocks, bytes, downtimeMs, totalMs, code } = outcome;
      const identity = { migrationId, requestId, pool, sourceInstanceId, targetInstanceId, reason, mode };
      const event = { ...identity, outcome: outcome.outcome, code, stages, blocks, bytes, downtimeMs, totalMs, atMs: clock.now() };
      bus.publish(contracts.migrationEnded, [], event, { id: migrationId });
    },
  };
}

function jobOf(plan: MigrationPlan, held: CopyJob['held']): CopyJob {
  const { requestId, sourceInstanceId, targetInstanceId, connections } = plan;
  return { reservationId: plan.migrationId, requestId, sourceInstanceId, targetInstanceId, epoch: plan.fromEpoch, held, connections };
}

export function reservedOf(reply: ReserveReply): Reserved {
  if (reply.refusal) return { held: null, refusal: reply.refusal };
  return { held: { kvAddress: reply.kvAddress, transferToken: reply.transferToken, address: reply.address }, refusal: null };
}

function outcomeOf(reply: HandOverReply, numbers: Pick<CutOver, 'blocks' | 'bytes' | 'downtimeMs'>): CutOver {
  const code = whyNotCommitted(reply);
  return { ...numbers, committed: code === '', code };
}
