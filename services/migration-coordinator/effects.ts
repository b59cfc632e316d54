// What the coordinator does to the world: workflows, the snapshot, the cordon, audit events, metrics and spans.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { DrainPlan, MigrationOutcome } from '../../core/workflows/catalogue.ts';
import * as contracts from '../../lib/contracts.ts';
import { sleep } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Span } from '../../lib/ports/telemetry.ts';
import { type Acknowledgement, type MigrationEnded, type MigrationPlan, MigrationsReply } from '../../proto/gen/messages.ts';

export const coordinatorName = 'coordinator';
/** Workflows looked at when asking what runs. */
const listLimit = 1_000;
const askMs = 3_000;

export type LookedUp = { readonly found: 'running' | 'nothing' | 'unknown' } | { readonly found: 'ended'; readonly ended: MigrationEnded };

export interface AuditLine {
  readonly kind: string;
  readonly actor: string;
  readonly target: string;
  readonly detail: Readonly<Record<string, unknown>>;
  /** Of the command: the same command is recorded once. */
  readonly commandId: string;
}

export function createEffects(ports: Ports) {
  const { bus, store, workflows, telemetry, clock } = ports;
  const { log } = telemetry;
  const activeGauge = telemetry.gauge('switchyard_migrations_active');
  const endedCounter = telemetry.counter('switchyard_migrations_total');
  const heldBackCounter = telemetry.counter('switchyard_migrations_held_back_total');
  const downtime = telemetry.histogram('switchyard_migration_downtime_seconds');
  const duration = telemetry.histogram('switchyard_migration_duration_seconds');
  const auditFailures = telemetry.counter('switchyard_audit_failures_total');
  const poolsSeen = new Set<string>();
  /** Of migrations that run; as many as these. */
  const spans = new Map<string, Span>();

  function openSpan(plan: MigrationPlan, traceparent: string): Span {
    const span = telemetry.start('migrate', {
      ...(traceparent === '' ? {} : { parent: { traceparent } }),
      attributes: {
        'switchyard.migration.id': plan.migrationId,
        'switchyard.workflow.id': plan.migrationId,
        'switchyard.request.id': plan.requestId,
        'switchyard.pool': plan.pool,
        'switchyard.source': plan.sourceInstanceId,
        'switchyard.target': plan.targetInstanceId,
        'switchyard.reason': plan.reason,
        'switchyard.migration.mode': plan.mode,
        'switchyard.from_epoch': plan.fromEpoch,
        'switchyard.to_epoch': plan.toEpoch,
      },
    });
    // Also of a migration that is aborted: it had the request pause.
    span.keep('moved');
    spans.set(plan.migrationId, span);
    return span;
  }

  return {
    /** Starts the workflow in the request's trace; an id that has run before is not started again. @throws SwitchyardError */
    async startMigration(plan: MigrationPlan, traceparent: string): Promise<void> {
      const span = openSpan(plan, traceparent);
      await telemetry.within(span.context, () => workflows.start('migrateRequest', plan.migrationId, plan));
    },

    closeSpan(plan: MigrationPlan, ended: MigrationEnded | undefined): void {
      const span = spans.get(plan.migrationId);
      spans.delete(plan.migrationId);
      if (ended) {
        const { migrationId: migration, requestId: request, outcome, code, downtimeMs, totalMs } = ended;
        telemetry.within(span?.context, () => log.info('migration ended', { migration, request, outcome, code, downtimeMs, totalMs }));
      }
      if (!span) return;
      if (ended) {
        span.set({
          'switchyard.outcome': ended.outcome,
          'switchyard.stages': ended.stages,
          'switchyard.blocks': ended.blocks,
          'switchyard.bytes': ended.bytes,
          'switchyard.downtime_ms': ended.downtimeMs,
        });
        if (ended.outcome === 'aborted') span.fail(ended.code);
      } else span.fail('workflows_unavailable', 'the workflow was not started');
      span.end();
    },

    /** The coordinator's own look at a migration whose end nobody reported. Never throws. */
    async lookUp(plan: MigrationPlan): Promise<LookedUp> {
      try {
        const summary = await workflows.describe(plan.migrationId);
        if (summary.status === 'running') return { found: 'running' };
        if (summary.status !== 'completed') return { found: 'ended', ended: endedFrom(plan, failedOutcome, summary.closedAtMs ?? clock.now()) };
        const outcome = await workflows.result('migrateRequest', plan.migrationId);
        return { found: 'ended', ended: endedFrom(plan, outcome, summary.closedAtMs ?? clock.now()) };
      } catch (thrown) {
        if (thrown instanceof SwitchyardError && thrown.code === 'workflow_not_found') return { found: 'nothing' };
        log.warn('migration not looked up', { migration: plan.migrationId, error: String(thrown) });
        return { found: 'unknown' };
      }
    },

    /** Ids of the migrations that run. @throws SwitchyardError `workflows_unavailable` */
    async runningMigrations(): Promise<string[]> {
      return (await workflows.list({ name: 'migrateRequest', running: true, limit: listLimit })).map((summary) => summary.id);
    },

    /** Ids of the drains that run. @throws SwitchyardError `workflows_unavailable` */
    async runningDrains(): Promise<string[]> {
      return (await workflows.list({ name: 'drainInstance', running: true, limit: listLimit })).map((summary) => summary.id);
    },

    /** Whether the workflow runs. @throws SwitchyardError `workflows_unavailable` */
    async isRunning(id: string): Promise<boolean> {
      try {
        return (await workflows.describe(id)).status === 'running';
      } catch (thrown) {
        if (thrown instanceof SwitchyardError && thrown.code === 'workflow_not_found') return false;
        throw thrown;
      }
    },

    startDrain: (plan: DrainPlan) => workflows.start('drainInstance', plan.drainId, plan),

    /** Cancels and waits a little for the end, so that what the drain undoes is undone. @throws SwitchyardError */
    async cancelDrain(id: string): Promise<void> {
      await workflows.cancel(id);
      await Promise.race([workflows.result('drainInstance', id).catch(() => {}), sleep(clock, askMs)]);
    },

    liftCordon: (instanceId: string): Promise<Acknowledgement> =>
      bus.request(contracts.cordon, [], { instanceId, cordoned: false, reason: 'none' }, { timeoutMs: askMs }),

    /** False: a later coordinator has written. @throws SwitchyardError `store_unavailable` */
    save: (listing: Omit<MigrationsReply, 'meta'>) => store.saveSnapshot(coordinatorName, listing.epoch, MigrationsReply.encode(listing)),

    async load(): Promise<MigrationsReply | undefined> {
      const saved = await store.loadSnapshot(coordinatorName);
      return saved && MigrationsReply.decode(saved.value);
    },

    audit(line: AuditLine): void {
      const { kind, actor, target, detail, commandId } = line;
      const event = { kind, actor, target, detailJson: JSON.stringify(detail), atMs: clock.now() };
      bus.record(contracts.audit, [], event, { id: `${kind}-${commandId}` }).catch((thrown) => {
        auditFailures.add(1, { kind });
        log.error('audit event not recorded', { ...line, error: String(thrown) });
      });
    },

    countEnd(ended: MigrationEnded): void {
      const { pool, outcome, reason, code } = ended;
      endedCounter.add(1, { pool, outcome, reason, code });
      duration.observe(ended.totalMs / 1000, { pool, outcome });
      if (outcome === 'committed') downtime.observe(ended.downtimeMs / 1000, { pool });
    },

    countHeldBack(pool: string, cause: 'slow' | 'workflows_unavailable' | 'not_saved'): void {
      heldBackCounter.add(1, { pool, cause });
    },

    showActive(plans: readonly MigrationPlan[]): void {
      for (const plan of plans) poolsSeen.add(plan.pool);
      for (const pool of poolsSeen) activeGauge.set(plans.filter((plan) => plan.pool === pool).length, { pool });
    },
  };
}

export type Effects = ReturnType<typeof createEffects>;

const failedOutcome: MigrationOutcome = { outcome: 'aborted', code: 'workflow_failed', stages: 0, blocks: 0, bytes: 0, downtimeMs: 0, totalMs: 0 };

export function endedFrom(plan: MigrationPlan, outcome: MigrationOutcome, atMs: number): MigrationEnded {
  const { migrationId, requestId, pool, sourceInstanceId, targetInstanceId, reason, mode } = plan;
  return { migrationId, requestId, pool, sourceInstanceId, targetInstanceId, reason, mode, ...outcome, atMs };
}
