// The router's state and its step. Wrong knowledge here costs balance, never safety: a request runs where the gateway
// opens it, under an epoch that counts once.
//
// The memory (account, prefix index, sessions) is large and changed in place by the step that owns it.

import { refusal } from '../../core/errors/switchyard-error.ts';
import { decideBatch } from '../../core/routing/batch.ts';
import type { DecisionNotes } from '../../core/routing/decide.ts';
import type { RoutingProfile } from '../../core/routing/profile.ts';
import { RoutingMemory } from '../../core/routing/routing-memory.ts';
import type { FleetChange } from '../../core/tracking/fleet-replica.ts';
import { type Actor, assert } from '../../lib/actor/actor.ts';
import type { Booking, CachedPrefixes, DecisionRecord, RequestInfo, RouteRequest, RouteResult } from '../../proto/gen/messages.ts';
import type { RouterConfig } from './config.ts';

export interface RouterState {
  readonly routerId: string;
  readonly config: RouterConfig;
  readonly memory: RoutingMemory;
  /** Newest epoch of each pool's queue owner. As many as there are pools. */
  readonly ownerEpochs: ReadonlyMap<string, number>;
}

export type RouterMessage =
  | { readonly type: 'fleet'; readonly change: FleetChange }
  /** By another router. */
  | { readonly type: 'booked'; readonly bookings: readonly Booking[] }
  /** By an engine that says what it has cached. */
  | { readonly type: 'cached'; readonly report: CachedPrefixes }
  | { readonly type: 'done'; readonly requestIds: readonly string[] }
  | { readonly type: 'owner'; readonly pool: string; readonly epoch: number }
  | { readonly type: 'configure'; readonly config: RouterConfig }
  | {
      readonly type: 'route';
      /** Names the answer. */
      readonly ask: number;
      readonly question: RouteRequest;
      /** One per request. */
      readonly seeds: readonly number[];
      /** Watches each decision; has no influence on it. */
      readonly notesOf?: (request: RequestInfo) => DecisionNotes;
    };

export type RouterEffect =
  | { readonly type: 'answer'; readonly ask: number; readonly results: readonly RouteResult[] }
  | { readonly type: 'refuse'; readonly ask: number; readonly pool: string; readonly newest: number }
  | { readonly type: 'announce'; readonly booking: Omit<Booking, 'meta'> }
  | { readonly type: 'record'; readonly record: DecisionRecord };

type Step = readonly [RouterState, readonly RouterEffect[]];

export function routerActor(routerId: string, config: RouterConfig): Actor<RouterState, RouterMessage, RouterEffect> {
  return {
    kind: 'router',
    start: () => ({ routerId, config, memory: memoryOf(config), ownerEpochs: new Map() }),
    step(state, message, nowMs): Step {
      switch (message.type) {
        case 'fleet':
          state.memory.takeChange(message.change, nowMs);
          return [state, []];
        case 'booked':
          for (const booking of message.bookings) state.memory.place({ ...booking, atMs: nowMs });
          return [state, []];
        case 'cached':
          state.memory.takeCached(message.report);
          return [state, []];
        case 'done':
          for (const requestId of message.requestIds) state.memory.fleet.account.done(requestId, nowMs);
          return [state, []];
        case 'owner':
          return [withOwner(state, message.pool, message.epoch), []];
        case 'configure':
          return [{ ...state, config: message.config }, []];
        case 'route':
          return route(state, message, nowMs);
        case 'wake':
          return [state, []];
      }
    },
    wakeAt: () => undefined,
    assertValid({ memory, config: { maxBookings, prefixEntries } }) {
      assert(memory.fleet.account.size <= maxBookings, 'no more bookings than allowed');
      assert(memory.prefixes.entries <= prefixEntries, 'no more prefixes than allowed');
    },
  };
}

function memoryOf(config: RouterConfig): RoutingMemory {
  return new RoutingMemory({
    account: { maxBookings: config.maxBookings, graceMs: config.graceMs, bookingTtlMs: 600_000, handOffTtlMs: 30_000 },
    prefixes: { maxEntries: config.prefixEntries, maxPerInstance: config.prefixEntriesPerInstance, maxHolders: config.prefixHolders },
    sessions: config.sessions,
  });
}

function withOwner(state: RouterState, pool: string, epoch: number): RouterState {
  if ((state.ownerEpochs.get(pool) ?? 0) >= epoch) return state;
  return { ...state, ownerEpochs: new Map(state.ownerEpochs).set(pool, epoch) };
}

function route(state: RouterState, message: Extract<RouterMessage, { type: 'route' }>, nowMs: number): Step {
  const { ask, question, seeds } = message;
  const { pool, epoch } = question;
  const newest = state.ownerEpochs.get(pool) ?? 0;
  if (epoch < newest) return [state, [{ type: 'refuse', ask, pool, newest }]];
  const next = withOwner(state, pool, epoch);
  const { memory, routerId, config } = next;
  for (const requestId of question.ended) memory.fleet.account.done(requestId, nowMs);
  if (!memory.fleet.header) {
    const none = refusal('no_instance', 'this router has no fleet view yet', 500);
    return [next, [{ type: 'answer', ask, results: question.requests.map(({ requestId }) => ({ requestId, refusal: none })) }]];
  }

  const requests = question.requests.slice(0, config.maxBatch);
  const profile: RoutingProfile = config.profile;
  const decisions = decideBatch(memory, { requests, profile, nowMs, seeds, routerId }, message.notesOf);
  const effects: RouterEffect[] = [];
  const results = decisions.map(({ request, chosen, refusal: refused, record, placement }): RouteResult => {
    const { requestId } = request;
    if (record) effects.push({ type: 'record', record });
    if (placement) {
      const { promptTokens, maxOutputTokens } = request;
      effects.push({ type: 'announce', booking: { ...placement, routerId, pool, promptTokens, maxOutputTokens } });
    }
    if (!chosen) return { requestId, refusal: refused };
    const { instanceId, address, handOff = null } = chosen;
    return { requestId, assignment: { requestId, pool, instanceId, address, epoch: request.epoch + 1, assignedAtMs: nowMs, routerId, handOff } };
  });
  const beyond = question.requests.slice(config.maxBatch).map(
    ({ requestId }): RouteResult => ({
      requestId,
      refusal: refusal('mailbox_full', `a batch may hold ${config.maxBatch} requests`),
    }),
  );
  return [next, [{ type: 'answer', ask, results: [...results, ...beyond] }, ...effects]];
}
