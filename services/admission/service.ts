// Wires the queues of all pools to bus, store and telemetry. Every replica tries to own every queue; the one that holds
// the lease serves the pool's subject.

import { sloClasses } from '../../core/admission/slo.ts';
import { ChurnMap } from '../../core/collections/churn-map.ts';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { changeOfPool, changeOfView, type FleetChange } from '../../core/tracking/fleet-replica.ts';
import { hostActors } from '../../lib/actor/host.ts';
import { keepOwning, leaseOwner, type Ownership } from '../../lib/actor/ownership.ts';
import { admit, booked, leaveQueue, queueOwnerChanged, requestsDone } from '../../lib/contracts.ts';
import { watchFleet } from '../../lib/fleet/watch-fleet.ts';
import type { MessageContext, Subscription } from '../../lib/ports/bus.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Span } from '../../lib/ports/telemetry.ts';
import type { Running, Service } from '../../lib/run/service.ts';
import type { AdmitReply, AdmitRequest, RequestInfo } from '../../proto/gen/messages.ts';
import { queueActor } from './actor.ts';
import { type AdmissionConfig, admissionSchema } from './config.ts';
import { type EffectContext, type PendingAnswer, perform } from './effects.ts';
import { createKeyLimits } from './key-limits.ts';
import { createLedger } from './ledger.ts';
import type { PoolMessage, PoolState } from './pool-state.ts';
import { settleAgain } from './settling-again.ts';

/** Leases, ledger and key cache are made once. */
const fixedSettings = ['leaseTtlMs', 'routeTimeoutMs', 'reservationTtlMs', 'keyTtlMs', 'keyCacheEntries', 'whenStoreAway', 'fleet'];

export const admission: Service<AdmissionConfig> = { name: 'admission', schema: admissionSchema, fixedSettings, start };

/** An answer leaves this long before the question's deadline, so that it arrives in time. */
const answerMarginMs = 200;
/** Name under which replicas share the recorded ends of requests. */
const ledgerConsumer = 'admission-ledger';

async function start(config: AdmissionConfig, ports: Ports): Promise<Running<AdmissionConfig>> {
  const { bus, clock, store, telemetry, identity } = ports;
  const pools = config.fleet.pools.map(({ id }) => id);
  const known: ReadonlySet<string> = new Set(pools);
  const keyLimits = createKeyLimits({ store, clock, ttlMs: config.keyTtlMs, maxEntries: config.keyCacheEntries });
  const ledger = createLedger({ config, store, telemetry, keyLimits });
  const asks = new ChurnMap<number, PendingAnswer>();
  const spans = new ChurnMap<string, Span>();
  const serving = new Map<string, Subscription>();
  let asked = 0;
  let current = config;
  // Exposed before the first of them happens: an alert that asks for it knows that there is none.
  telemetry.counter('switchyard_drops_total');

  const host = hostActors<PoolState, PoolMessage, Parameters<typeof perform>[1]>({
    actor: queueActor(config),
    clock,
    telemetry,
    perform: (pool, effect) => perform(pool, effect, context),
    restarted,
  });
  const tell = (pool: string, message: PoolMessage) => host.tell(pool, message);
  const context: EffectContext = {
    bus,
    telemetry,
    ledger,
    ownerId: identity.id,
    routeTimeoutMs: config.routeTimeoutMs,
    asks,
    spans,
    tell,
    stopServing,
  };

  function answerAsk(question: AdmitRequest, { meta, keys }: MessageContext): Promise<Omit<AdmitReply, 'meta'>> {
    const [pool = ''] = keys;
    const { request } = question;
    if (!request || request.requestId === '') throw new SwitchyardError('invalid_request', 'a request without an id cannot be admitted');
    if (!sloClasses.includes(request.sloClass)) throw new SwitchyardError('invalid_request', `there is no SLO class ${request.sloClass}`);
    const ask = asked++;
    const answerByMs = Math.min(clock.now() + current.longPollMs, meta.deadlineMs - answerMarginMs);
    const traceparent = admitSpan(pool, request);
    const reply = new Promise<Omit<AdmitReply, 'meta'>>((resolve, reject) => asks.set(ask, { pool, resolve, reject }));
    if (!tell(pool, { type: 'ask', ask, request: { ...request, pool, traceparent }, answerByMs })) giveUp(ask);
    const entry = host.state(pool)?.entries.get(request.requestId);
    if (!entry || entry.phase === 'assigned') endSpan(request.requestId);
    return reply;
  }

  function giveUp(ask: number): void {
    const pending = asks.get(ask);
    asks.delete(ask);
    pending?.reject(new SwitchyardError('mailbox_full', 'this queue has too many messages'));
  }

  /** One span per wait, however often the gateway asks. */
  function admitSpan(pool: string, request: RequestInfo): string {
    const { requestId, sloClass, priority, epoch } = request;
    const entry = host.state(pool)?.entries.get(requestId);
    const running = spans.get(requestId);
    if (running) return running.context.traceparent;
    if (entry && epoch + 1 === entry.assignment?.epoch) return '';
    const span = telemetry.start('admit', {
      attributes: {
        'switchyard.request.id': requestId,
        'switchyard.pool': pool,
        'switchyard.slo_class': sloClass,
        'switchyard.priority': priority,
        'switchyard.epoch': epoch,
      },
    });
    spans.set(requestId, span);
    return span.context.traceparent;
  }

  function endSpan(requestId: string): void {
    spans.get(requestId)?.end();
    spans.delete(requestId);
  }

  function serve(pool: string, epoch: number): void {
    stopServing(pool);
    tell(pool, { type: 'gained', epoch });
    serving.set(pool, bus.serve(admit, [pool], answerAsk));
  }

  /** The queue has lost its requests: their gateways submit them again to the next owner, which may be this one. */
  function restarted(pool: string): void {
    for (const [ask, pending] of asks) {
      if (pending.pool !== pool) continue;
      asks.delete(ask);
      pending.reject(new SwitchyardError('not_owner', `the queue of pool ${pool} starts over`));
    }
    tell(pool, { type: 'configure', config: current });
    const view = watch.view();
    if (view) tell(pool, { type: 'fleet', change: changeOfPool(changeOfView(view), pool) });
    void ownerships[pools.indexOf(pool)]?.startOver();
  }

  function stopServing(pool: string): void {
    const subscription = serving.get(pool);
    serving.delete(pool);
    void subscription?.stop();
  }

  function fleetTold(change: FleetChange): void {
    for (const pool of pools) tell(pool, { type: 'fleet', change: changeOfPool(change, pool) });
  }

  function forPool(pool: string, message: PoolMessage): void {
    if (known.has(pool)) tell(pool, message);
  }

  const watch = watchFleet({ ...ports, changed: fleetTold });
  const subscriptions = [
    bus.subscribe(leaveQueue, ['*'], ({ pool, requestId }) => forPool(pool, { type: 'leave', requestId })),
    bus.subscribe(requestsDone, ['*'], ({ ended }) => {
      for (const [pool, ofPool] of Map.groupBy(ended, (each) => each.pool))
        forPool(pool, { type: 'done', requestIds: ofPool.map(({ requestId }) => requestId) });
    }),
    bus.subscribe(queueOwnerChanged, ['*'], ({ pool, epoch }) => forPool(pool, { type: 'owner', epoch })),
    bus.subscribe(booked, [], ({ bookings }) => {
      for (const [pool, ofPool] of Map.groupBy(bookings, (booking) => booking.pool)) forPool(pool, { type: 'booked', bookings: ofPool });
    }),
  ];
  subscriptions.push(await bus.consume(requestsDone, ledgerConsumer, ({ ended }) => ledger.settle(ended)));
  const settlingAgain = settleAgain({ bus, store, clock, telemetry, settle: ledger.settle });
  const ownerships: Ownership[] = pools.map((pool) =>
    keepOwning({
      name: `queue/${pool}`,
      owner: leaseOwner(ports),
      ttlMs: config.leaseTtlMs,
      clock,
      store,
      telemetry,
      gained: (lease) => serve(pool, lease.epoch),
      lost: () => {
        stopServing(pool);
        tell(pool, { type: 'lost' });
      },
    }),
  );

  return {
    ready: () => (bus.connected() ? true : 'the bus is away'),
    owns: () => ownerships.flatMap((ownership) => ownership.lease() ?? []).map(({ name, epoch }) => `${name}@${epoch}`),
    reconfigure(changed) {
      current = changed;
      for (const pool of pools) tell(pool, { type: 'configure', config: changed });
    },
    async drain() {
      await Promise.all(ownerships.map((ownership) => ownership.stop()));
      await watch.stop();
      await settlingAgain.stop();
      await Promise.all(subscriptions.map((subscription) => subscription.stop()));
      host.stopAll();
    },
  };
}
