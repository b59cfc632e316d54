// Wires the router to bus, store and telemetry.
import { ChurnMap } from '../../core/collections/churn-map.ts';
import { hostActors } from '../../lib/actor/host.ts';
import { booked, prefixesCached, queueOwnerChanged, requestsDone, route } from '../../lib/contracts.ts';
import { watchFleet } from '../../lib/fleet/watch-fleet.ts';
import { every } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Running, Service } from '../../lib/run/service.ts';
import type { RouteReply, RouteRequest } from '../../proto/gen/messages.ts';
import { type RouterMessage, type RouterState, routerActor } from './actor.ts';
import { createAnnouncements } from './announcements.ts';
import { type RouterConfig, routerSchema } from './config.ts';
import { createDecisionLog } from './decision-log.ts';
import { type EffectContext, type PendingAnswer, perform } from './effects.ts';
import { spansOfBatch } from './spans.ts';

/** The memory is as large as it was made; changing it would forget what is known. */
const fixedSettings = [
  'graceMs',
  'maxBookings',
  'prefixEntries',
  'prefixEntriesPerInstance',
  'prefixHolders',
  'sessions',
  'recordBuffer',
  'recordTtlMs',
];

export const router: Service<RouterConfig> = { name: 'router', schema: routerSchema, fixedSettings, start };

async function start(config: RouterConfig, ports: Ports): Promise<Running<RouterConfig>> {
  const { bus, clock, rng, store, telemetry, identity } = ports;
  const asks = new ChurnMap<number, PendingAnswer>();
  const decisions = createDecisionLog({ store, telemetry, clock, buffer: config.recordBuffer, ttlMs: config.recordTtlMs });
  const announcements = createAnnouncements({ bus, clock, routerId: identity.id });
  const context: EffectContext = { telemetry, announcements, decisions, asks };
  const host = hostActors({
    actor: routerActor(identity.id, config),
    clock,
    telemetry,
    perform: (_, effect) => perform(effect, context),
  });
  const tell = (message: RouterMessage) => host.tell(identity.id, message);
  const state = (): RouterState | undefined => host.state(identity.id);
  let asked = 0;

  function answer(question: RouteRequest): Promise<Omit<RouteReply, 'meta'>> {
    const startedMs = clock.now();
    const ask = asked++;
    const spans = spansOfBatch(telemetry);
    const seeds = question.requests.map(() => rng.seed());
    const reply = new Promise<Omit<RouteReply, 'meta'>>((resolve, reject) => {
      asks.set(ask, {
        resolve(found) {
          spans.end(found.results);
          resolve(found);
        },
        reject,
      });
    });
    tell({ type: 'route', ask, question, seeds, notesOf: (request) => spans.notesOf(request) });
    const unanswered = asks.get(ask);
    if (unanswered) {
      asks.delete(ask);
      spans.end([]);
      unanswered.reject(new Error('the routing step failed'));
    }
    observe(startedMs, question.requests.length);
    return reply;
  }

  const duration = telemetry.histogram('switchyard_scheduler_e2e_duration_seconds');
  const viewAge = telemetry.histogram('switchyard_routing_view_age_seconds');
  const staleViews = telemetry.counter('switchyard_routing_stale_views_total');
  function observe(startedMs: number, requests: number): void {
    const ageMs = watch.ageMs();
    for (let k = 0; k < requests; k++) duration.observe((clock.now() - startedMs) / 1000 / requests);
    if (Number.isFinite(ageMs)) viewAge.observe(ageMs / 1000);
    if (ageMs > config.staleViewMs) staleViews.add(requests);
  }

  tell({ type: 'configure', config });
  const watch = watchFleet({ ...ports, changed: (change) => tell({ type: 'fleet', change }) });
  const subscriptions = [
    bus.subscribe(booked, [], ({ routerId, bookings }) => {
      if (routerId !== identity.id) tell({ type: 'booked', bookings });
    }),
    bus.subscribe(requestsDone, ['*'], ({ ended }) => {
      tell({ type: 'done', requestIds: ended.map(({ requestId }) => requestId) });
    }),
    bus.subscribe(prefixesCached, ['*', '*'], (report, { keys }) => {
      if (keys[1] === report.instanceId) tell({ type: 'cached', report });
    }),
    bus.subscribe(queueOwnerChanged, ['*'], ({ pool, epoch }) => tell({ type: 'owner', pool, epoch })),
  ];
  const serving = bus.serve(route, [], answer, { group: 'routers' });
  const stopGauges = every(clock, 1_000, () => {
    const memory = state()?.memory;
    telemetry.gauge('switchyard_prefix_index_entries').set(memory?.prefixes.entries ?? 0);
    telemetry.gauge('switchyard_routing_account_bookings').set(memory?.fleet.account.size ?? 0);
  });

  return {
    ready: () => (state()?.memory.fleet.header ? true : 'no fleet view yet'),
    owns: () => [],
    reconfigure(changed) {
      config = changed;
      tell({ type: 'configure', config: changed });
    },
    async drain() {
      await serving.stop();
      announcements.flush();
      await decisions.flushed();
      stopGauges();
      await watch.stop();
      await Promise.all(subscriptions.map((subscription) => subscription.stop()));
      host.stopAll();
    },
  };
}
