// The instance tracker: hears every status report, judges health, publishes the fleet view while it holds the lease.
// Every replica tracks; the one with the lease speaks and writes.
import { refusal, SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { bare, FleetPublication } from '../../core/tracking/fleet-publication.ts';
import { assembleView, viewOf } from '../../core/tracking/fleet-view.ts';
import { type InstanceState, restoreInstance } from '../../core/tracking/instance-state.ts';
import { hostActors } from '../../lib/actor/host.ts';
import { keepOwning, leaseOwner } from '../../lib/actor/ownership.ts';
import * as contracts from '../../lib/contracts.ts';
import type { MessageContext, Subscription } from '../../lib/ports/bus.ts';
import { type Cancel, every, sleep } from '../../lib/ports/clock.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Lease } from '../../lib/ports/store.ts';
import type { Running, Service } from '../../lib/run/service.ts';
import type { Acknowledgement, CordonCommand, FleetQuery, FleetView, InstanceStatus, InstanceView } from '../../proto/gen/messages.ts';
import { type InstanceEffect, instanceActor } from './actor.ts';
import { type InstanceTrackerConfig, instanceTrackerSchema } from './config.ts';
import { createEffects, viewName } from './effects.ts';

/** How often the tracker checks its own hearing. */
const hearingMs = 250;
const retryMs = 500;
/** An instance that has just started reports within this: a command that names it waits for the report, ms. */
const firstReportMs = 1_000;
const lookMs = 50;
/** Left of a command's deadline for the answer to travel, ms. */
const answerMs = 200;

async function start(config: InstanceTrackerConfig, ports: Ports): Promise<Running<InstanceTrackerConfig>> {
  const { clock, bus, store, telemetry, identity } = ports;
  const { log } = telemetry;
  const effects = createEffects(ports);
  const reports = telemetry.counter('switchyard_status_reports_total');
  const host = hostActors({ actor: instanceActor(config), clock, telemetry, perform });

  /** Set while this tracker publishes: it has the lease and knows the cordons. */
  let publishing: Lease | undefined;
  const publication = new FleetPublication(identity.id, () => config.maxPublishMs);
  let lastPublishedMs = 0;
  let changedSinceSnapshot = false;
  let cancelPublish: Cancel | undefined;
  let services: Subscription[] = [];
  let deaf = false;
  /** Subscribed to while the store is away. */
  let othersViews: Subscription | undefined;

  function perform(instanceId: string, effect: InstanceEffect): void {
    switch (effect.type) {
      case 'report_counted':
        reports.add(1, { result: effect.result });
        return;
      case 'changed':
        changedSinceSnapshot = true;
        publication.note(instanceId, effect.meaningful);
        publishWhenDue(publication.dueMs(instanceId));
        return;
      case 'health_changed':
        log.info('instance health changed', { instance: instanceId, from: effect.from, to: effect.to, silentMs: Math.round(effect.silentMs) });
        return;
      case 'forget':
        forget(instanceId);
        return;
    }
  }

  function forget(instanceId: string): void {
    const cordoned = host.state(instanceId)?.cordoned;
    host.stop(instanceId);
    changedSinceSnapshot = true;
    publication.note(instanceId, true);
    publishWhenDue(0);
    log.info('instance forgotten', { instance: instanceId });
    if (cordoned && publishing)
      effects.saveCordon(instanceId, false, 'none').catch((thrown) => log.warn('cordon not removed', { error: String(thrown) }));
  }

  function states(): InstanceState[] {
    return host.keys().flatMap((key) => host.state(key) ?? []);
  }

  function instance(instanceId: string): InstanceView | undefined {
    const state = host.state(instanceId);
    return state && viewOf(state);
  }

  /** Named instances as they are, whether or not readers have been told; otherwise a page of what they have been told. */
  function answer(query: FleetQuery): FleetView {
    requireLease();
    if (query.instanceIds.length === 0) return publication.page(query);
    const instances = query.instanceIds.flatMap((instanceId) => instance(instanceId) ?? []);
    return { ...publication.header, atMs: clock.now(), instances: query.withoutSequences ? instances.map(bare) : instances, nextAfter: '' };
  }

  function publishNow(): void {
    if (!publishing) return;
    lastPublishedMs = clock.now();
    effects.publish(publication.tell(instance, lastPublishedMs));
    scheduleNext();
  }

  function scheduleNext(): void {
    cancelPublish?.();
    cancelPublish = undefined;
    publishWhenDue(Math.min(lastPublishedMs + config.maxPublishMs, publication.nextDueMs()));
  }

  let scheduledForMs = 0;
  /** Publishes at `dueMs`, but not sooner after the last time than allowed. */
  function publishWhenDue(dueMs: number): void {
    if (!publishing) return;
    const atMs = Math.max(clock.now(), lastPublishedMs + config.minPublishMs, dueMs);
    if (cancelPublish && scheduledForMs <= atMs) return;
    cancelPublish?.();
    scheduledForMs = atMs;
    cancelPublish = clock.after(atMs - clock.now(), publishNow);
  }

  function hear(status: InstanceStatus, keys: readonly string[]): void {
    if (status.instanceId !== keys[1] || status.pool !== keys[0]) {
      reports.add(1, { result: 'invalid' });
      return;
    }
    // At the limit a new instance is not tracked: it gets no requests until another one has been forgotten.
    if (!host.state(status.instanceId) && host.size >= config.maxInstances) {
      reports.add(1, { result: 'over_limit' });
      return;
    }
    const { meta: _, ...plain } = status;
    host.tell(status.instanceId, { type: 'report', status: plain });
  }

  function checkHearing(): void {
    if (deaf === !bus.connected()) return;
    deaf = !deaf;
    log.warn(deaf ? 'bus is away: health is not judged' : 'bus is back: silence counts from now', {});
    for (const key of host.keys()) host.tell(key, { type: 'hearing', deaf });
  }

  /** Cut off from the store this tracker goes on, and does not learn there that another one has taken over. Their views say so. */
  function watchOthers(): void {
    const needed = publishing !== undefined && !store.connected();
    if (needed && !othersViews) othersViews = bus.subscribe(contracts.fleetChanged, [], ({ epoch }) => yieldTo(epoch));
    if (needed || !othersViews) return;
    void othersViews.stop();
    othersViews = undefined;
  }

  function yieldTo(epoch: number): void {
    if (!publishing || epoch <= publishing.epoch) return;
    log.warn('another tracker publishes', { epoch, ours: publishing.epoch });
    end();
  }

  function requireLease(): Lease {
    if (publishing) return publishing;
    throw new SwitchyardError('not_owner', `${identity.id} does not publish the fleet view; ask again`);
  }

  async function takeCordon(command: CordonCommand, { meta }: MessageContext): Promise<Omit<Acknowledgement, 'meta'>> {
    const lease = requireLease();
    const { instanceId, cordoned, reason } = command;
    const untilMs = Math.min(clock.now() + firstReportMs, meta.deadlineMs - answerMs);
    while (cordoned && !host.state(instanceId) && clock.now() < untilMs) await sleep(clock, lookMs);
    if (cordoned && !host.state(instanceId)) return { refusal: refusal('unknown_instance', `no instance ${instanceId}; see "switchyard instances"`) };
    // Stored first: a cordon that was acknowledged survives the death of every process. Asked for the lease afterwards: who
    // takes over reads the cordons when it has the lease, so it knows this one if the lease is still ours.
    await effects.saveCordon(instanceId, cordoned, reason);
    if (!(await store.renew(lease, config.leaseMs)) || publishing?.epoch !== lease.epoch)
      throw new SwitchyardError('not_owner', `another tracker has taken over from ${identity.id}; ask again`);
    if (host.state(instanceId)) host.tell(instanceId, { type: 'cordon', cordoned, reason });
    publishNow();
    return {};
  }

  async function restoreCordons(): Promise<void> {
    const cordons = await effects.loadCordons();
    for (const key of host.keys()) {
      const reason = cordons.get(key);
      host.tell(key, { type: 'cordon', cordoned: reason !== undefined, reason: reason ?? 'none' });
    }
    for (const [instanceId, reason] of cordons) {
      if (!host.state(instanceId)) host.tell(instanceId, { type: 'cordon', cordoned: true, reason });
    }
  }

  async function begin(lease: Lease): Promise<void> {
    // Without the cordons the view could offer an instance that is being drained: nothing is published before.
    while (ownership?.lease()?.epoch === lease.epoch) {
      try {
        await restoreCordons();
        break;
      } catch (thrown) {
        log.warn('cordons not loaded, trying again', { error: String(thrown) });
        await sleep(clock, retryMs);
      }
    }
    if (ownership?.lease()?.epoch !== lease.epoch) return;
    publishing = lease;
    lastPublishedMs = clock.now();
    const instances = states().flatMap((state) => viewOf(state) ?? []);
    effects.publish(publication.begin(lease.epoch, instances, lastPublishedMs));
    services = [bus.serve(contracts.getFleet, [], answer), bus.serve(contracts.cordon, [], takeCordon)];
    scheduleNext();
  }

  function end(): void {
    publishing = undefined;
    cancelPublish?.();
    cancelPublish = undefined;
    for (const service of services) void service.stop();
    services = [];
  }

  /** What is worth keeping over a restart. Sequences are not: each instance reports its own within half a second. */
  function kept({ epoch }: Lease): FleetView {
    const view = assembleView({ ...publication.header, epoch, atMs: clock.now() }, states());
    return { ...view, instances: view.instances.map(bare) };
  }

  async function saveSnapshot(): Promise<void> {
    if (!publishing || !changedSinceSnapshot) return;
    changedSinceSnapshot = false;
    const lease = publishing;
    const saved = await effects.saveSnapshot(kept(lease)).catch((thrown) => {
      changedSinceSnapshot = true;
      log.warn('snapshot not saved', { error: String(thrown) });
      return true;
    });
    if (!saved) log.warn('snapshot refused, a later tracker has written', { epoch: lease.epoch });
  }

  async function warmStart(): Promise<void> {
    const snapshot = await effects.loadSnapshot();
    for (const instance of snapshot?.instances ?? []) {
      const restored = restoreInstance(instance, clock.now());
      if (restored) host.restore(restored.instanceId, restored);
    }
    if (snapshot) log.info('fleet restored from snapshot', { instances: snapshot.instances.length, epoch: snapshot.epoch });
  }

  await warmStart().catch((thrown) => log.warn('no warm start', { error: String(thrown) }));
  const listening = bus.subscribe(contracts.instanceStatus, ['*', '*'], (status, context) => hear(status, context.keys));
  const timers = [
    every(clock, hearingMs, checkHearing),
    every(clock, hearingMs, watchOthers),
    every(clock, 1_000, () => effects.measure(publishing ? states() : [])),
  ];
  let cancelSnapshots = every(clock, config.snapshotMs, () => void saveSnapshot());
  const ownership = keepOwning({
    name: viewName,
    owner: leaseOwner(ports),
    ttlMs: config.leaseMs,
    clock,
    store,
    telemetry,
    gained: (lease) => void begin(lease),
    lost: end,
  });

  return {
    ready: () => (bus.connected() ? true : 'the bus is away'),
    owns: () => (publishing ? [`${viewName}@${publishing.epoch}`] : []),
    reconfigure(changed) {
      config = changed;
      host.become(instanceActor(changed));
      cancelSnapshots();
      cancelSnapshots = every(clock, changed.snapshotMs, () => void saveSnapshot());
    },
    async drain() {
      await Promise.all([listening.stop(), othersViews?.stop()]);
      for (const cancel of timers) cancel();
      cancelSnapshots();
      await saveSnapshot();
      await ownership.stop();
      end();
      host.stopAll();
    },
  };
}

export const instanceTracker: Service<InstanceTrackerConfig> = { name: 'instance-tracker', schema: instanceTrackerSchema, start };
