// A fleet around admission for its tests: tracker and engines are a table, routers decide with the real code.
import { SwitchyardError } from '../../../core/errors/switchyard-error.ts';
import { decideBatch } from '../../../core/routing/batch.ts';
import { defaultProfile } from '../../../core/routing/profile.ts';
import { anInstance, aSequence, aView } from '../../../core/routing/routing-fixtures.ts';
import { RoutingMemory } from '../../../core/routing/routing-memory.ts';
import { announced } from '../../../core/tracking/example-fleet.ts';
import type { VirtualClock } from '../../../lib/clock/virtual-clock.ts';
import { booked, fleetChanged, requestsDone, route } from '../../../lib/contracts.ts';
import { watchFleet } from '../../../lib/fleet/watch-fleet.ts';
import type { Subscription } from '../../../lib/ports/bus.ts';
import { type Cancel, every } from '../../../lib/ports/clock.ts';
import type { Ports } from '../../../lib/ports/ports.ts';
import { createMemoryWorld, type MemoryWorld } from '../../../lib/run/memory-ports.ts';
import type { Running } from '../../../lib/run/service.ts';
import type { Assignment, RequestInfo } from '../../../proto/gen/messages.ts';

export interface Execution {
  readonly requestId: string;
  readonly epoch: number;
  readonly instanceId: string;
  readonly atMs: number;
}

export class TestFleet {
  readonly world: MemoryWorld<VirtualClock>;
  readonly executions: Execution[] = [];
  /** Most requests that ran at once on any instance. */
  peak = 0;
  readonly #running = new Map<string, Set<string>>();
  readonly #dead = new Set<string>();
  /** What engines answer, by instance; empty: they are well. */
  readonly setAside = new Map<string, string>();
  readonly #places: number;
  #version = 0;
  readonly #stopBeats: Cancel;
  #services: Running<never>[] = [];

  constructor(instances: readonly string[], places: number, seed = 1) {
    this.world = createMemoryWorld({ seed });
    this.#places = places;
    for (const id of instances) this.#running.set(id, new Set());
    this.#stopBeats = every(this.world.clock, 500, () => this.publish());
  }

  /** Has the service stopped with the fleet. Not for one that is killed: it cannot stop. */
  add(service: Running<never>): void {
    this.#services.push(service);
  }

  async stop(): Promise<void> {
    this.#stopBeats();
    const drains = this.#services.map((service) => service.drain(1000));
    await this.world.clock.advance(10_000);
    await Promise.all(drains);
  }

  /** Publishes the view as it is now: what every report says, without delay. */
  publish(): void {
    const instances = [...this.#running].map(([id, running]) =>
      anInstance(
        id,
        {
          maxRunning: this.#places,
          maxWaiting: 0,
          running: running.size,
          accepting: !this.setAside.get(id),
          setAside: this.setAside.get(id) ?? '',
          sequenceNumber: ++this.#version,
          sequences: [...running].map((requestId) => aSequence(requestId)),
        },
        { health: this.#dead.has(id) ? 'dead' : 'healthy' },
      ),
    );
    this.#version += 1;
    const view = aView(instances, { version: this.#version, atMs: this.world.clock.now() });
    this.world.ports('instance-tracker-1').bus.publish(fleetChanged, [], announced(view));
  }

  run(assignment: Assignment): void {
    const { requestId, epoch, instanceId } = assignment;
    this.executions.push({ requestId, epoch, instanceId, atMs: this.world.clock.now() });
    const running = this.#running.get(instanceId)!;
    running.add(requestId);
    this.peak = Math.max(this.peak, running.size);
    this.publish();
  }

  finish(requestId: string): void {
    for (const running of this.#running.values()) running.delete(requestId);
    this.publish();
  }

  killInstance(instanceId: string): string[] {
    this.#dead.add(instanceId);
    const cut = [...this.#running.get(instanceId)!];
    this.#running.get(instanceId)!.clear();
    this.publish();
    return cut;
  }
}

/** A router with nothing around its decisions. */
export class TestRouter {
  /** Every batch that it was asked to place, older owners' included. */
  readonly batches: { readonly epoch: number; readonly requests: readonly RequestInfo[] }[] = [];
  readonly #memory = new RoutingMemory();
  readonly #serving: Subscription;
  #newestEpoch = 0;

  constructor(ports: Ports) {
    const { bus, clock, rng, identity } = ports;
    const profile = { ...defaultProfile, allowedWaiting: 0 };
    watchFleet({ ...ports, changed: (change) => this.#memory.takeChange(change, clock.now()) });
    bus.subscribe(requestsDone, ['*'], ({ ended }) => {
      for (const { requestId } of ended) this.#memory.fleet.account.done(requestId, clock.now());
    });
    bus.subscribe(booked, [], ({ bookings }) => {
      for (const booking of bookings) this.#memory.place(booking);
    });
    this.#serving = bus.serve(
      route,
      [],
      ({ pool, epoch, requests }) => {
        this.batches.push({ epoch, requests });
        if (epoch < this.#newestEpoch) throw new SwitchyardError('stale_epoch', 'there is a newer owner');
        this.#newestEpoch = epoch;
        const nowMs = clock.now();
        const seeds = requests.map(() => rng.seed());
        const decisions = decideBatch(this.#memory, { requests, profile, nowMs, seeds, routerId: identity.id });
        const routerId = identity.id;
        const bookings = decisions.flatMap(({ placement, request: { promptTokens, maxOutputTokens } }) =>
          placement ? [{ ...placement, routerId, pool, promptTokens, maxOutputTokens }] : [],
        );
        bus.publish(booked, [], { routerId, bookings });
        return {
          results: decisions.map(({ request: { requestId, epoch: before }, chosen, refusal }) => ({
            requestId,
            assignment: chosen && { requestId, pool, ...chosen, epoch: before + 1, assignedAtMs: nowMs, routerId: identity.id },
            refusal,
          })),
        };
      },
      { group: 'routers' },
    );
  }

  stop(): Promise<void> {
    return this.#serving.stop();
  }
}
