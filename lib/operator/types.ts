// What the operator API answers, as JSON. Shared by services/console and the command line.
import type { DecisionRecord, MigrationEnded, MigrationPlan, PoolStatus, QueuedClass, SpanRecord } from '../../proto/gen/messages.ts';

/** Every answer of the operator API carries this header, so that a client can tell that it has the wrong address. */
export const serverHeader = 'x-switchyard-server';

export interface ServiceRow {
  readonly service: string;
  readonly id: string;
  readonly pid: number;
  readonly ready: boolean;
  readonly notReadyBecause: string;
  readonly owns: readonly string[];
  readonly startedAtMs: number;
}

/** Where a process serves its metrics, as Prometheus' HTTP service discovery wants it. */
export interface ScrapeTarget {
  readonly targets: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

export interface InstanceRow {
  readonly id: string;
  readonly pool: string;
  readonly model: string;
  readonly engine: string;
  readonly role: string;
  /** 0 when the instance is not on this machine. */
  readonly pid: number;
  readonly agent: string;
  readonly health: string;
  readonly stale: boolean;
  readonly cordoned: boolean;
  readonly cordonReason: string;
  /** Error code of what its engine answers, for which it gets no requests; empty: it does. */
  readonly setAside: string;
  /** The same in words. */
  readonly setAsideWhy: string;
  /** Name and version of the engine; empty: not known. */
  readonly software: string;
  readonly capabilities: readonly string[];
  /** Since the engine's own metrics were read; undefined: it has none, or they are too old, and its agent counts by itself. */
  readonly loadAgeMs?: number | undefined;
  readonly running: number;
  readonly queued: number;
  readonly totalBlocks: number;
  readonly freeBlocks: number;
  readonly reservedBlocks: number;
  readonly cachedBlocks: number;
  readonly blockTokens: number;
  readonly kvUsage: number;
  readonly stepMs: number;
  readonly tokensOut: number;
  readonly preemptions: number;
  readonly reportAgeMs: number;
  readonly address: string;
  /** False: it loads its model, or is stopping, or is set aside. */
  readonly accepting: boolean;
}

/** The tracker lists an instance for a while after it fell silent; silence after a scale-in is no fault. */
export function stoppedOnPurpose(row: InstanceRow): boolean {
  return row.cordonReason === 'scale_in' && row.health !== 'healthy';
}

export interface RequestRow {
  readonly id: string;
  readonly state: string;
  readonly instance: string;
  readonly epoch: number;
  readonly tokens: number;
  readonly pool: string;
  readonly model: string;
  readonly sloClass: string;
  readonly ageMs: number;
  readonly migrations: number;
  readonly failovers: number;
  readonly gateway: string;
  readonly traceId: string;
  readonly code: string;
}

/** What waits for an instance of a pool. */
export interface QueueRow {
  readonly pool: string;
  readonly owner: string;
  readonly waiting: number;
  /** First served first. */
  readonly classes: readonly QueuedClass[];
  /** At the limit the worst one is shed. */
  readonly limit: number;
  /** Sequences in flight over the places of the pool; 1 is full. */
  readonly saturation: number;
  readonly drainedPerSecond: number;
  /** Since its owner said so. */
  readonly ageMs: number;
}

export interface StatusReport {
  readonly services: readonly ServiceRow[];
  readonly pools: readonly PoolStatus[];
  readonly queues: readonly QueueRow[];
  readonly instances: { readonly total: number; readonly healthy: number; readonly cordoned: number };
  readonly requests: { readonly running: number; readonly queued: number };
  readonly migrations: { readonly active: number; readonly committed: number; readonly aborted: number; readonly heldBack: number };
  readonly workflowsConnected: boolean;
  readonly storeConnected: boolean;
}

export interface MigrationsReport {
  readonly active: readonly MigrationPlan[];
  readonly recent: readonly Omit<MigrationEnded, 'meta'>[];
  readonly committed: number;
  readonly aborted: number;
  readonly heldBack: number;
}

export interface Explanation {
  readonly request: RequestRow | null;
  /** Oldest first: one for each time the request was placed. */
  readonly decisions: readonly DecisionRecord[];
}

export interface SpanRow extends Omit<SpanRecord, 'attributesJson'> {
  readonly attributes: Readonly<Record<string, unknown>>;
}

export interface Journey {
  readonly traceIds: readonly string[];
  /** By their start. */
  readonly spans: readonly SpanRow[];
}

export interface AuditRow {
  readonly atMs: number;
  readonly actor: string;
  readonly kind: string;
  readonly target: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

export interface MoveAnswer {
  readonly workflowId: string;
  readonly plan: MigrationPlan;
}

/** An operation that runs as a workflow. With an approval id it waits for a person first. */
export interface StartedAnswer {
  readonly workflowId: string;
  readonly approvalId: string;
}

export interface KeyRow {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly models: readonly string[];
  readonly requestsPerMinute: number;
  readonly tokensPerMinute: number;
  readonly budgetMicros: number;
  readonly spentMicros: number;
  readonly createdAtMs: number;
  readonly revoked: boolean;
}

export interface WorkflowListRow {
  readonly id: string;
  readonly name: string;
  readonly status: string;
  /** What it is for, in one line. */
  readonly summary: string;
  readonly startedAtMs: number;
  readonly closedAtMs: number | null;
}

export interface WorkflowRow extends WorkflowListRow {
  /** Present when it has ended. */
  readonly result: unknown;
  /** What it has done so far, as a markdown list; where that was asked for and a worker could tell. */
  readonly story: string;
}
