// Messages of the control plane as the rows that operators read.
import type { AuditRow, InstanceRow, RequestRow, ScrapeTarget, ServiceRow, SpanRow } from '../../lib/operator/types.ts';
import type * as m from '../../proto/gen/messages.ts';

/** For Prometheus' HTTP service discovery. */
export function scrapeTarget({ id, probeAddress }: m.ServiceInfo): ScrapeTarget | undefined {
  return probeAddress === '' ? undefined : { targets: [new URL(probeAddress).host], labels: { process: id } };
}

export function serviceRow(info: m.ServiceInfo): ServiceRow {
  const { service, id, pid, ready, notReadyBecause, owns, startedAtMs } = info;
  return { service, id, pid, ready, notReadyBecause, owns, startedAtMs };
}

export function instanceRow(view: m.InstanceView, nowMs: number): InstanceRow | undefined {
  const status = view.status;
  if (!status) return undefined;
  return {
    id: status.instanceId,
    pool: status.pool,
    model: status.model,
    engine: status.engine,
    role: status.role,
    pid: status.pid,
    agent: status.agentId,
    health: view.health,
    stale: view.stale,
    cordoned: view.cordoned,
    cordonReason: view.cordoned ? view.cordonReason : '',
    setAside: status.setAside,
    setAsideWhy: status.setAsideWhy,
    software: status.software,
    capabilities: status.capabilities,
    loadAgeMs: status.loadAtMs > 0 ? Math.max(0, nowMs - status.loadAtMs) : undefined,
    running: status.running,
    queued: status.waiting,
    totalBlocks: status.totalBlocks,
    freeBlocks: status.freeBlocks,
    reservedBlocks: status.reservedBlocks,
    cachedBlocks: status.cachedBlocks,
    blockTokens: status.blockTokens,
    kvUsage: status.totalBlocks > 0 ? 1 - status.freeBlocks / status.totalBlocks : 0,
    stepMs: status.stepMs,
    tokensOut: status.tokensOut,
    preemptions: status.preemptions,
    reportAgeMs: Math.max(0, nowMs - view.receivedAtMs),
    address: status.address,
    accepting: status.accepting,
  };
}

export function requestRow(row: m.RequestRow, nowMs: number): RequestRow {
  return {
    id: row.requestId,
    state: row.state,
    instance: row.instanceId,
    epoch: row.epoch,
    tokens: row.tokens,
    pool: row.pool,
    model: row.model,
    sloClass: row.sloClass,
    ageMs: Math.max(0, nowMs - row.arrivalMs),
    migrations: row.migrations,
    failovers: row.failovers,
    gateway: row.gatewayId,
    traceId: row.traceId,
    code: row.code,
  };
}

export function auditRow(event: m.AuditEvent): AuditRow {
  const { kind, actor, target, atMs } = event;
  return { atMs, actor, kind, target, detail: fields(event.detailJson) };
}

export function spanRow({ attributesJson, ...span }: m.SpanRecord): SpanRow {
  return { ...span, attributes: fields(attributesJson) };
}

/** The fields of a JSON object in a message; what is none is shown as it is. */
function fields(json: string): Readonly<Record<string, unknown>> {
  if (json === '') return {};
  try {
    return JSON.parse(json) as Record<string, unknown>;
  } catch {
    return { text: json };
  }
}
