// What the autoscaler does to the world: workflows, snapshots and modes in the store, records, audit events, metrics.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { ScalePlan, ScalingDecided, ScalingEnded } from '../../proto/gen/messages.ts';
import type { PoolState, SavedPool, ScalingMode } from './actor.ts';

const modes: readonly string[] = ['off', 'advisory', 'active'];
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function leaseName(pool: string): string {
  return `scaler/${pool}`;
}

function modeKey(pool: string): string {
  return `scaler/mode/${pool}`;
}

export type LookedUp = { readonly found: 'running' | 'nothing' | 'unknown' } | { readonly found: 'ended'; readonly ended: ScalingEnded };

export function createEffects(ports: Ports) {
  const { bus, store, workflows, telemetry, clock } = ports;
  const { log } = telemetry;
  const desiredGauge = telemetry.gauge('switchyard_desired_instances');
  const currentGauge = telemetry.gauge('switchyard_current_instances');
  const decisions = telemetry.counter('switchyard_scaling_decisions_total');
  const auditFailures = telemetry.counter('switchyard_audit_failures_total');

  return {
    /** False: a later owner has written. @throws SwitchyardError `store_unavailable` */
    save(state: PoolState): Promise<boolean> {
      const { memory, policy, plan, grewAtMs, shrankAtMs } = state;
      const saved: SavedPool = { memory, policy, plan, grewAtMs, shrankAtMs };
      return store.saveSnapshot(leaseName(state.pool), state.epoch, encoder.encode(JSON.stringify(saved)));
    },

    async load(pool: string): Promise<{ saved: SavedPool | undefined; mode: ScalingMode | undefined }> {
      const [snapshot, mode] = await Promise.all([store.loadSnapshot(leaseName(pool)), store.get(modeKey(pool))]);
      const text = mode && decoder.decode(mode);
      return {
        saved: snapshot && (JSON.parse(decoder.decode(snapshot.value)) as SavedPool),
        mode: text && modes.includes(text) ? (text as ScalingMode) : undefined,
      };
    },

    saveMode: (pool: string, mode: ScalingMode) => store.set(modeKey(pool), encoder.encode(mode)),

    async startScaling(plan: ScalePlan): Promise<void> {
      const attributes = {
        'switchyard.plan.id': plan.scaleId,
        'switchyard.pool': plan.pool,
        'switchyard.instances.current': plan.from,
        'switchyard.instances.desired': plan.to,
        'switchyard.actor': plan.requestedBy,
      };
      await telemetry.span('scale', { attributes }, () => workflows.start('scalePool', plan.scaleId, plan));
    },

    /** A look at a change whose end nobody reported. Never throws. */
    async lookUp(plan: ScalePlan): Promise<LookedUp> {
      const { scaleId, pool } = plan;
      try {
        const { status, closedAtMs } = await workflows.describe(scaleId);
        if (status === 'running') return { found: 'running' };
        const atMs = closedAtMs ?? clock.now();
        if (status !== 'completed')
          return { found: 'ended', ended: { scaleId, pool, outcome: 'failed', code: 'workflow_failed', started: [], stopped: [], atMs } };
        return { found: 'ended', ended: { scaleId, pool, ...(await workflows.result('scalePool', scaleId)), atMs } };
      } catch (thrown) {
        if (thrown instanceof SwitchyardError && thrown.code === 'workflow_not_found') return { found: 'nothing' };
        log.warn('change of size not looked up', { plan: scaleId, error: String(thrown) });
        return { found: 'unknown' };
      }
    },

    record(decided: Omit<ScalingDecided, 'meta'>, epoch: number): void {
      const { pool, mode, current, constrained } = decided;
      decisions.add(1, { pool, mode, result: constrained > current ? 'out' : constrained < current ? 'in' : 'hold' });
      const id = `scaling-${pool}-${epoch}-${decided.atMs}`;
      bus.record(contracts.scalingDecided, [], decided, { id }).catch((thrown) => log.warn('decision not recorded', { pool, error: String(thrown) }));
    },

    measure(pool: string, desired: number, current: number): void {
      desiredGauge.set(desired, { pool });
      currentGauge.set(current, { pool });
    },

    audit(kind: string, actor: string, pool: string, detail: Readonly<Record<string, unknown>>, commandId: string): void {
      const event = { kind, actor, target: pool, detailJson: JSON.stringify(detail), atMs: clock.now() };
      bus.record(contracts.audit, [], event, { id: `${kind}-${commandId}` }).catch((thrown) => {
        auditFailures.add(1, { kind });
        log.error('audit event not recorded', { kind, actor, pool, error: String(thrown) });
      });
    },
  };
}

export type Effects = ReturnType<typeof createEffects>;
