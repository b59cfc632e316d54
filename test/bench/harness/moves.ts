// Moves running requests for a bench: its own plans, run by the real workflow, so that one fleet shows every way of moving. The
// coordinator is off: nothing else moves.
import type { MigrationOutcome } from '../../../core/workflows/catalogue.ts';
import { systemClock } from '../../../lib/clock/system-clock.ts';
import type { InstanceRow, RequestRow } from '../../../lib/operator/types.ts';
import { createMemoryTelemetry } from '../../../lib/telemetry/memory-telemetry.ts';
import { connectTemporalWorkflows } from '../../../lib/workflows/temporal-workflows.ts';
import type { MigrationPlan } from '../../../proto/gen/messages.ts';
import type { Fleet } from '../../support/fleet.ts';

/**
 * pre-copy: in stages while the source decodes on. follow: as one state, and the target computes what the source says meanwhile.
 * stop-and-copy: pause, copy everything. recompute: no KV moves.
 */
export type MoveWay = 'pre-copy' | 'follow' | 'stop-and-copy' | 'recompute';

/** A request as it is now. Changed by a move that commits. */
export interface Movable {
  readonly requestId: string;
  readonly gatewayId: string;
  instanceId: string;
  epoch: number;
}

export interface Mover {
  /** Running requests by id. */
  find(): Promise<Map<string, Movable>>;
  /** Moves it to another instance of its pool and waits for the end. */
  move(request: Movable, way: MoveWay, tokens: number): Promise<MigrationOutcome>;
  close(): Promise<void>;
}

/** `kv`: whether the engines give KV by blocks, or as one state. */
export async function createMover(fleet: Fleet, kv: 'blocks' | 'state' = 'blocks'): Promise<Mover> {
  const modes: Readonly<Record<MoveWay, MigrationPlan['mode']>> = {
    'pre-copy': 'copy',
    follow: 'follow',
    'stop-and-copy': kv === 'blocks' ? 'copy' : 'stop_and_copy',
    recompute: 'recompute',
  };
  const telemetry = createMemoryTelemetry(systemClock);
  const workflows = connectTemporalWorkflows({ address: fleet.temporalAddress, namespace: 'default', telemetry });
  const instances: readonly InstanceRow[] = await fleet.instances();
  let moves = 0;

  function plan(request: Movable, target: InstanceRow, way: MoveWay, tokens: number): MigrationPlan {
    const nowMs = systemClock.now();
    const toEpoch = request.epoch + 1;
    return {
      migrationId: `migrate-${request.requestId}-${toEpoch}-${++moves}`,
      requestId: request.requestId,
      gatewayId: request.gatewayId,
      pool: target.pool,
      sourceInstanceId: request.instanceId,
      targetInstanceId: target.id,
      targetAddress: target.address,
      reason: 'operator',
      reasons: ['A bench moves it.'],
      mode: modes[way],
      fromEpoch: request.epoch,
      toEpoch,
      coordinatorEpoch: 1,
      // Room for what is decoded on the way.
      reserveBlocks: Math.ceil(tokens / target.blockTokens) + 16,
      connections: 2,
      maxStages: way === 'stop-and-copy' ? 1 : 8,
      // As the coordinator plans: a follower has caught up when nothing remains.
      lastStageBlocks: way === 'follow' ? 0 : 16,
      pauseLeaseMs: 30_000,
      reservationTtlMs: 60_000,
      plannedAtMs: nowMs,
      deadlineMs: nowMs + 60_000,
      expectedBytes: 0,
      expectedMs: 0,
      requestedBy: 'bench',
      recomputeInstead: false,
      bulkCopy: false,
      shortCopy: way !== 'recompute',
    };
  }

  return {
    async find() {
      const rows: RequestRow[] = await fleet.requests();
      return new Map(rows.map(({ id, gateway, instance, epoch }) => [id, { requestId: id, gatewayId: gateway, instanceId: instance, epoch }]));
    },
    async move(request, way, tokens) {
      const others = instances.filter(({ id }) => id !== request.instanceId);
      const target = others[moves % others.length]!;
      const planned = plan(request, target, way, tokens);
      await workflows.start('migrateRequest', planned.migrationId, planned);
      const outcome = await workflows.result('migrateRequest', planned.migrationId);
      if (outcome.outcome === 'committed') {
        request.instanceId = target.id;
        request.epoch = planned.toEpoch;
      }
      return outcome;
    },
    close: () => workflows.close(),
  };
}
