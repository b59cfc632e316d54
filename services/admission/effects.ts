// What the queue actor's effects do. Results come back to the actor as messages.

import { queuedClasses } from '../../core/admission/queue-status.ts';
import type { ChurnMap } from '../../core/collections/churn-map.ts';
import type { Code } from '../../core/errors/codes.ts';
import { SwitchyardError, toRefusal } from '../../core/errors/switchyard-error.ts';
import { queueOwnerChanged, queueStatus, route } from '../../lib/contracts.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import type { Span, Telemetry } from '../../lib/ports/telemetry.ts';
import type { AdmitReply, QueueStatus, RequestInfo } from '../../proto/gen/messages.ts';
import type { Ledger } from './ledger.ts';
import type { PoolEffect, PoolMessage } from './pool-state.ts';

export interface PendingAnswer {
  readonly pool: string;
  resolve(reply: Omit<AdmitReply, 'meta'>): void;
  reject(thrown: unknown): void;
}

export interface EffectContext {
  readonly bus: Bus;
  readonly telemetry: Telemetry;
  readonly ledger: Ledger;
  readonly ownerId: string;
  readonly routeTimeoutMs: number;
  /** Questions under way, as many as requests may wait. */
  readonly asks: ChurnMap<number, PendingAnswer>;
  /** The admit span of each request that waits. */
  readonly spans: ChurnMap<string, Span>;
  tell(pool: string, message: PoolMessage): void;
  /** Stops serving the pool's subject. */
  stopServing(pool: string): void;
}

export function perform(pool: string, effect: PoolEffect, context: EffectContext): void {
  switch (effect.type) {
    case 'answer':
      takeAsk(effect.ask, context)?.resolve(effect.reply);
      break;
    case 'notOwner':
      takeAsk(effect.ask, context)?.reject(new SwitchyardError('not_owner', `${context.ownerId} does not own the queue of pool ${pool}`));
      break;
    case 'reserve':
      void inTraceOf(effect.request, context, () => context.ledger.reserve(effect.request)).then((result) =>
        context.tell(pool, { type: 'reserved', request: effect.request, ...result }),
      );
      break;
    case 'refund':
      void inTraceOf(effect.request, context, () => context.ledger.refund(effect.request));
      break;
    case 'route':
      void askRouter(pool, effect, context);
      break;
    case 'announce':
      context.bus.publish(queueOwnerChanged, [pool], { pool, ownerId: context.ownerId, epoch: effect.epoch });
      break;
    case 'tellQueue':
      tellQueue(pool, effect.status, context);
      break;
    case 'handedOver':
      showQueue(pool, { classes: queuedClasses([], 0), saturation: 0 }, context.telemetry);
      break;
    case 'stepDown':
      context.stopServing(pool);
      break;
    case 'waited':
      waited(pool, effect, context);
  }
}

/** What is logged meanwhile carries the ids of the request's trace. */
function inTraceOf<T>({ requestId, traceparent }: RequestInfo, { telemetry, spans }: EffectContext, run: () => T): T {
  return telemetry.within(spans.get(requestId)?.context ?? (traceparent === '' ? undefined : { traceparent }), run);
}

function tellQueue(pool: string, status: Omit<QueueStatus, 'meta' | 'ownerId'>, { bus, telemetry, ownerId }: EffectContext): void {
  showQueue(pool, status, telemetry);
  bus.publish(queueStatus, [pool], { ...status, ownerId });
}

function showQueue(pool: string, { classes, saturation }: Pick<QueueStatus, 'classes' | 'saturation'>, telemetry: Telemetry): void {
  for (const { sloClass, requests, demandBlocks } of classes) {
    telemetry.gauge('switchyard_queue_depth').set(requests, { pool, slo_class: sloClass });
    telemetry.gauge('switchyard_queue_demand_blocks').set(demandBlocks, { pool, slo_class: sloClass });
  }
  telemetry.gauge('switchyard_pool_saturation').set(saturation, { pool });
}

function takeAsk(ask: number, { asks }: EffectContext): PendingAnswer | undefined {
  const pending = asks.get(ask);
  asks.delete(ask);
  return pending;
}

/** The call hangs in the trace of the batch's first request; each request's own spans hang in its own. */
async function askRouter(pool: string, effect: Extract<PoolEffect, { type: 'route' }>, context: EffectContext): Promise<void> {
  const { batch, epoch, ended } = effect;
  const requests = effect.requests.map((request) => ({
    ...request,
    traceparent: context.spans.get(request.requestId)?.context.traceparent ?? request.traceparent,
  }));
  const parent = requests[0]?.traceparent;
  try {
    const reply = await context.telemetry.within(parent ? { traceparent: parent } : undefined, () =>
      context.bus.request(route, [], { pool, epoch, requests, ended }, { timeoutMs: context.routeTimeoutMs }),
    );
    context.tell(pool, { type: 'routed', batch, results: reply.results });
  } catch (thrown) {
    const { code, message } = toRefusal(thrown);
    context.telemetry.log.debug('batch not routed', { pool, code, error: message, requests: requests.length });
    context.tell(pool, { type: 'routeFailed', batch, code: code as Code });
  }
}

function waited(pool: string, effect: Extract<PoolEffect, { type: 'waited' }>, { telemetry, spans }: EffectContext): void {
  const { request, outcome, code, instanceId, waitMs } = effect;
  if (outcome === 'assigned') telemetry.histogram('switchyard_queue_wait_seconds').observe(waitMs / 1000, { pool, slo_class: request.sloClass });
  if (outcome === 'refused' || code === 'client_left') telemetry.counter('switchyard_drops_total').add(1, { pool, reason: code });
  const span = spans.get(request.requestId);
  if (!span) return;
  spans.delete(request.requestId);
  span.set({
    'switchyard.outcome': outcome,
    'switchyard.queue.wait_ms': waitMs,
    ...(code === '' ? {} : { 'switchyard.code': code }),
    ...(instanceId === '' ? {} : { 'switchyard.instance.id': instanceId }),
  });
  if (outcome === 'refused') span.fail(code);
  span.end();
}
