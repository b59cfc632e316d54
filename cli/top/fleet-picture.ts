// What `switchyard top` shows, made from the answers of the operator API. Rates come from the difference to the picture
// before, so the first picture has none.
import type { InstanceRow, MigrationsReport, RequestRow, StatusReport } from '../../lib/operator/types.ts';

export interface Answers {
  readonly status: StatusReport;
  readonly instances: readonly InstanceRow[];
  readonly requests: readonly RequestRow[];
  readonly migrations: MigrationsReport;
}

export interface PoolPicture {
  readonly pool: string;
  readonly model: string;
  readonly instances: number;
  readonly wanted: number;
  readonly scaling: string;
  readonly running: number;
  /** At admission. */
  readonly queued: number;
  /** Of all its blocks. */
  readonly kvUsage: number;
  /** Undefined: not known yet. */
  readonly tokensPerS: number | undefined;
}

export interface InstancePicture extends InstanceRow {
  readonly tokensPerS: number | undefined;
}

export interface FleetPicture {
  readonly atMs: number;
  readonly pools: readonly PoolPicture[];
  /** By pool and id. */
  readonly instances: readonly InstancePicture[];
  readonly moving: MigrationsReport['active'];
  /** Oldest first; without those that wait. */
  readonly requests: readonly RequestRow[];
  readonly running: number;
  readonly queued: number;
  readonly committed: number;
  readonly aborted: number;
  readonly heldBack: number;
  readonly tokensPerS: number | undefined;
  /** The newest last, at most `historyLength`. */
  readonly history: readonly number[];
  /** What an operator should know: processes that are not ready, servers that are away. */
  readonly troubles: readonly string[];
}

export const historyLength = 40;

export function fleetPicture(answers: Answers, before: FleetPicture | undefined, atMs: number): FleetPicture {
  const { status, requests, migrations } = answers;
  const instances = answers.instances
    .map((row): InstancePicture => ({ ...row, tokensPerS: rateOf(row, before, atMs) }))
    .sort((a, b) => compare(a.pool, b.pool) || compareIds(a.id, b.id));
  const waits = (row: RequestRow) => row.state === 'queued' || row.state === 'admitting';
  const tokensPerS = sum(instances.map((row) => row.tokensPerS));
  return {
    atMs,
    instances,
    pools: status.pools.map(({ pool, model, current, desired, mode }): PoolPicture => {
      const own = instances.filter((row) => row.pool === pool);
      const blocks = total(own, (row) => row.totalBlocks);
      return {
        pool,
        model,
        instances: current,
        wanted: desired,
        scaling: mode,
        running: total(own, (row) => row.running),
        queued: requests.filter((row) => row.pool === pool && waits(row)).length,
        kvUsage: blocks > 0 ? 1 - total(own, (row) => row.freeBlocks) / blocks : 0,
        tokensPerS: sum(own.map((row) => row.tokensPerS)),
      };
    }),
    moving: migrations.active,
    requests: requests.filter((row) => !waits(row)),
    running: status.requests.running,
    queued: status.requests.queued,
    committed: migrations.committed,
    aborted: migrations.aborted,
    heldBack: migrations.heldBack,
    tokensPerS,
    history: tokensPerS === undefined ? (before?.history ?? []) : [...(before?.history ?? []), tokensPerS].slice(-historyLength),
    troubles: troublesOf(status),
  };
}

/** Tokens a second since the picture before. An instance that started anew counts from zero again. */
function rateOf({ id, tokensOut }: InstanceRow, before: FleetPicture | undefined, atMs: number): number | undefined {
  const earlier = before?.instances.find((row) => row.id === id);
  if (!earlier || atMs <= before!.atMs) return undefined;
  const tokens = tokensOut >= earlier.tokensOut ? tokensOut - earlier.tokensOut : tokensOut;
  return (tokens * 1000) / (atMs - before!.atMs);
}

function troublesOf({ services, workflowsConnected, storeConnected }: StatusReport): string[] {
  return [
    ...services.filter((row) => !row.ready).map((row) => `${row.id} is not ready: ${row.notReadyBecause}`),
    ...(workflowsConnected ? [] : ['Temporal is away: no new migrations, drains or approvals']),
    ...(storeConnected ? [] : ['Redis is away: ownership does not change']),
  ];
}

function sum(rates: readonly (number | undefined)[]): number | undefined {
  const known = rates.filter((rate) => rate !== undefined);
  return known.length === 0 ? undefined : total(known, (rate) => rate);
}

function total<T>(rows: readonly T[], numberOf: (row: T) => number): number {
  return rows.reduce((value, row) => value + numberOf(row), 0);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** chat-2 before chat-10. */
function compareIds(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true }) || compare(a, b);
}
