// One function per thing an operator can ask. Each asks the service that decides; none decides here.
import { refusal, SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { storyQuery } from '../../core/workflows/story.ts';
import { type ApiKey, createKey, type KeyScope, listKeys, readKey, revokeKey, rootName } from '../../lib/auth/keys.ts';
import * as contracts from '../../lib/contracts.ts';
import { askFleet } from '../../lib/fleet/ask-fleet.ts';
import type * as operator from '../../lib/operator/types.ts';
import { stoppedOnPurpose } from '../../lib/operator/types.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { WorkflowFilter } from '../../lib/ports/workflows.ts';
import { DecisionRecord, type Refusal } from '../../proto/gen/messages.ts';
import { type Operator, operatorNamePattern } from './access.ts';
import type { ConsoleConfig } from './config.ts';
import type { Queues } from './queues.ts';
import { auditRow, instanceRow, requestRow, scrapeTarget, serviceRow, spanRow } from './rows.ts';

/** Recent migrations and requests that a listing carries at most. */
const listLimit = 1000;

export interface WantedKey {
  readonly name: string;
  readonly scopes: readonly KeyScope[];
  readonly models: readonly string[];
  readonly requestsPerMinute: number;
  readonly tokensPerMinute: number;
  readonly budgetMicros: number;
}

/** With such a key somebody acts or votes under its name. */
function speaksForPeople({ scopes }: Pick<ApiKey, 'scopes'>): boolean {
  return scopes.includes('operate') || scopes.includes('approve');
}

/** Otherwise one person could make another, and approve what they asked for themselves. */
function mayMakeOperators({ makesOperators }: Operator): Refusal | undefined {
  return makesOperators ? undefined : refusal('permission_denied', 'keys that operate or approve are made and revoked with the root key');
}

function properName(name: string): Refusal | undefined {
  if (name === rootName) return refusal('invalid_request', `"${rootName}" is the name of the root key`);
  if (operatorNamePattern.test(name)) return undefined;
  return refusal('invalid_request', 'the name of who operates or approves has 1 to 64 letters, digits or . _ @ -');
}

/** An answer of ours, or the refusal of the service that was asked. */
export type Answer<T> = { readonly value: T } | { readonly refusal: Refusal };

export function createEffects(config: ConsoleConfig, ports: Ports, queues: Pick<Queues, 'rows'>) {
  const { bus, store, workflows, clock } = ports;
  const ask = { timeoutMs: config.askMs };
  const collect = { timeoutMs: config.gatherMs };

  async function services(): Promise<operator.ServiceRow[]> {
    const infos = await bus.gather(contracts.describeServices, [], {}, collect);
    return infos.map(serviceRow).sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  async function scrapeTargets(): Promise<operator.ScrapeTarget[]> {
    const infos = await bus.gather(contracts.describeServices, [], {}, collect);
    return infos.sort((a, b) => (a.id < b.id ? -1 : 1)).flatMap((info) => scrapeTarget(info) ?? []);
  }

  async function instances(): Promise<operator.InstanceRow[]> {
    const view = await askFleet(bus, { ...ask, withoutSequences: true });
    return view.instances.flatMap((instance) => instanceRow(instance, clock.now()) ?? []);
  }

  async function requests(includeEnded: boolean): Promise<operator.RequestRow[]> {
    const replies = await bus.gather(contracts.listRequests, [], { includeEnded }, collect);
    return replies
      .flatMap((reply) => reply.requests)
      .sort((a, b) => a.arrivalMs - b.arrivalMs || (a.requestId < b.requestId ? -1 : 1))
      .slice(-listLimit)
      .map((row) => requestRow(row, clock.now()));
  }

  async function pools() {
    const replies = await bus.gather(contracts.listPools, [], {}, collect);
    return replies.flatMap((reply) => reply.pools).sort((a, b) => (a.pool < b.pool ? -1 : 1));
  }

  async function migrations(): Promise<operator.MigrationsReport> {
    const { active, recent, committed, aborted, heldBack } = await bus.request(contracts.listMigrations, [], {}, ask);
    return { active, recent: recent.map(({ meta: _, ...row }) => row), committed, aborted, heldBack };
  }

  async function status(): Promise<operator.StatusReport> {
    const nobody: operator.MigrationsReport = { active: [], recent: [], committed: 0, aborted: 0, heldBack: 0 };
    const [serviceRows, poolRows, instanceRows, requestRows, moves] = await Promise.all([
      services(),
      pools(),
      instances().catch(() => []),
      requests(false),
      migrations().catch(() => nobody),
    ]);
    return {
      services: serviceRows,
      pools: poolRows,
      queues: queues.rows(),
      instances: {
        total: instanceRows.filter((row) => !stoppedOnPurpose(row)).length,
        healthy: instanceRows.filter((row) => row.health === 'healthy').length,
        cordoned: instanceRows.filter((row) => row.cordoned && !stoppedOnPurpose(row)).length,
      },
      requests: {
        running: requestRows.filter((row) => row.state === 'streaming' || row.state === 'moving').length,
        queued: requestRows.filter((row) => row.state === 'queued' || row.state === 'admitting').length,
      },
      migrations: { active: moves.active.length, committed: moves.committed, aborted: moves.aborted, heldBack: moves.heldBack },
      workflowsConnected: workflows.connected(),
      storeConnected: store.connected(),
    };
  }

  async function explain(requestId: string): Promise<Answer<operator.Explanation>> {
    const [rows, records] = await Promise.all([requests(true), store.readLog(`decision/${requestId}`)]);
    const request = rows.find((row) => row.id === requestId) ?? null;
    if (!request && records.length === 0)
      return {
        refusal: refusal(
          'unknown_request',
          `no request ${requestId}: decisions are kept for an hour; list requests with "switchyard requests --all"`,
        ),
      };
    return { value: { request, decisions: records.map((bytes) => DecisionRecord.decode(bytes)) } };
  }

  async function journey(requestId: string): Promise<Answer<operator.Journey>> {
    const own = await bus.gather(contracts.findSpans, [], { requestId, traceId: '' }, collect);
    const traceIds = [...new Set(own.flatMap((reply) => reply.spans).map((span) => span.traceId))].sort();
    if (traceIds.length === 0)
      return { refusal: refusal('unknown_request', `no spans of ${requestId}: each process keeps its recent spans only, and tracing may be off`) };
    const whole = await Promise.all(traceIds.map((traceId) => bus.gather(contracts.findSpans, [], { requestId: '', traceId }, collect)));
    const spans = new Map(whole.flat().flatMap((reply) => reply.spans.map((span) => [`${span.traceId}/${span.spanId}`, span] as const)));
    return { value: { traceIds, spans: [...spans.values()].sort((a, b) => a.startMs - b.startMs).map(spanRow) } };
  }

  async function move(requestId: string, targetInstanceId: string, requestedBy: string): Promise<Answer<operator.MoveAnswer>> {
    const reply = await bus.request(contracts.moveRequest, [], { requestId, targetInstanceId, requestedBy, reason: 'operator' }, ask);
    if (reply.refusal) return { refusal: reply.refusal };
    if (!reply.plan) throw new SwitchyardError('internal', 'the coordinator answered without a plan');
    return { value: { workflowId: reply.workflowId, plan: reply.plan } };
  }

  async function drain(instanceId: string, withinMs: number, note: string, requestedBy: string): Promise<Answer<operator.StartedAnswer>> {
    const reply = await bus.request(contracts.drainInstance, [], { instanceId, withinMs, note, requestedBy }, ask);
    return reply.refusal ? { refusal: reply.refusal } : { value: { workflowId: reply.workflowId, approvalId: reply.approvalId } };
  }

  async function undrain(instanceId: string, requestedBy: string): Promise<Answer<{ instance: string }>> {
    const reply = await bus.request(contracts.undrainInstance, [], { instanceId, requestedBy }, ask);
    return reply.refusal ? { refusal: reply.refusal } : { value: { instance: instanceId } };
  }

  function knownPool(pool: string): Refusal | undefined {
    if (config.fleet.pools.some((known) => known.id === pool)) return undefined;
    return refusal('unknown_pool', `no pool ${pool}; there are ${config.fleet.pools.map((known) => known.id).join(', ')}`);
  }

  async function scale(
    pool: string,
    target: number,
    note: string,
    requestedBy: string,
  ): Promise<Answer<operator.StartedAnswer & { from: number; to: number }>> {
    const unknown = knownPool(pool);
    if (unknown) return { refusal: unknown };
    const reply = await bus.request(contracts.scalePool, [pool], { pool, target, note, requestedBy }, ask);
    if (reply.refusal) return { refusal: reply.refusal };
    return { value: { workflowId: reply.workflowId, approvalId: reply.approvalId, from: reply.from, to: reply.to } };
  }

  async function mode(pool: string, wanted: 'off' | 'advisory' | 'active', requestedBy: string): Promise<Answer<{ pool: string; mode: string }>> {
    const unknown = knownPool(pool);
    if (unknown) return { refusal: unknown };
    const reply = await bus.request(contracts.setScalingMode, [pool], { pool, mode: wanted, requestedBy }, ask);
    return reply.refusal ? { refusal: reply.refusal } : { value: { pool, mode: wanted } };
  }

  async function approvals(includeEnded: boolean) {
    return (await bus.request(contracts.listApprovals, [], { includeEnded }, ask)).approvals;
  }

  async function vote(approvalId: string, decision: 'approve' | 'reject', actionHash: string, reason: string, voter: string) {
    const reply = await bus.request(contracts.vote, [], { approvalId, decision, actionHash, reason, voter }, ask);
    return reply.refusal ? { refusal: reply.refusal } : { value: reply.approval };
  }

  /** `withStory` asks a worker, which takes longer. */
  async function workflow(id: string, withStory: boolean): Promise<Answer<operator.WorkflowRow>> {
    const summary = await workflows.describe(id);
    const result = summary.status === 'completed' ? await workflows.result(summary.name, id) : null;
    const story = withStory ? await workflows.query<string>(id, storyQuery).catch(() => '') : '';
    return { value: { ...summary, closedAtMs: summary.closedAtMs ?? null, result, story } };
  }

  async function workflowList(filter: WorkflowFilter, limit: number): Promise<operator.WorkflowListRow[]> {
    const found = await workflows.list({ ...filter, limit: Math.min(limit, listLimit) });
    return found.map((row) => ({ ...row, closedAtMs: row.closedAtMs ?? null }));
  }

  async function audit(limit: number): Promise<operator.AuditRow[]> {
    return (await bus.recorded(contracts.audit, Math.min(limit, listLimit))).map(auditRow);
  }

  async function keyRow(key: ApiKey): Promise<operator.KeyRow> {
    const spentMicros = await store.spent(key.id);
    const { id, name, scopes, models, limits, createdMs, revokedMs } = key;
    return { id, name, scopes, models, ...limits, spentMicros, createdAtMs: createdMs, revoked: revokedMs > 0 };
  }

  async function keys(): Promise<operator.KeyRow[]> {
    return await Promise.all((await listKeys(store)).map(keyRow));
  }

  /** Other operations are recorded by the service that decides about them; keys have none but us. */
  async function recordKeyChange(kind: 'key.created' | 'key.revoked', { id, name, scopes, models, limits }: ApiKey, actor: string): Promise<void> {
    const event = { kind, actor, target: id, detailJson: JSON.stringify({ name, scopes, models, ...limits }), atMs: clock.now() };
    await bus.record(contracts.audit, [], event, { id: `${kind}-${id}`, timeoutMs: config.askMs });
  }

  async function makeKey(wanted: WantedKey, by: Operator): Promise<Answer<operator.KeyRow & { secret: string }>> {
    const { name, scopes, models, ...limits } = wanted;
    const no = speaksForPeople(wanted) ? (mayMakeOperators(by) ?? properName(name)) : undefined;
    if (no) return { refusal: no };
    const served = config.fleet.pools.flatMap((pool) => pool.models);
    const unknown = models.filter((model) => !served.includes(model));
    if (unknown.length > 0)
      return { refusal: refusal('model_not_found', `no pool serves ${unknown.join(', ')}; there are ${served.toSorted().join(', ')}`) };
    const { secret, key } = await createKey(ports, { name, scopes, models, limits });
    await recordKeyChange('key.created', key, by.name);
    return { value: { ...(await keyRow(key)), secret } };
  }

  async function revoke(id: string, by: Operator): Promise<Answer<operator.KeyRow>> {
    const known = await readKey(store, id);
    if (!known) return { refusal: refusal('not_found', `no key ${id}: list them with "switchyard keys"`) };
    const no = speaksForPeople(known) ? mayMakeOperators(by) : undefined;
    if (no) return { refusal: no };
    await revokeKey(ports, id);
    bus.publish(contracts.keyRevoked, [], { keyId: id });
    const key = (await readKey(store, id)) as ApiKey;
    await recordKeyChange('key.revoked', key, by.name);
    return { value: await keyRow(key) };
  }

  return {
    services,
    scrapeTargets,
    instances,
    requests,
    pools,
    migrations,
    status,
    explain,
    journey,
    move,
    drain,
    undrain,
    scale,
    mode,
    approvals,
    vote,
    workflow,
    workflowList,
    keys,
    makeKey,
    revoke,
    audit,
  };
}

export type Effects = ReturnType<typeof createEffects>;
