// What the tracker does to the world: publishes the view, keeps snapshot and cordons in the store, exports metrics.
import type { CordonReason, InstanceState } from '../../core/tracking/instance-state.ts';
import * as contracts from '../../lib/contracts.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import { type FleetDelta, FleetView } from '../../proto/gen/messages.ts';

export const viewName = 'fleet/view';
const cordonPrefix = 'fleet/cordon/';
const healths = ['healthy', 'suspect', 'dead'] as const;
const reasons: readonly string[] = ['drain', 'scale_in', 'operator'];

export function createEffects(ports: Ports) {
  const { bus, store, telemetry } = ports;
  const instances = telemetry.gauge('switchyard_instances');
  const stale = telemetry.gauge('switchyard_stale_instances');
  const versionGauge = telemetry.gauge('switchyard_fleet_view_version');
  /** Pools whose gauges were set: they go to 0 when the last instance has left. As many as pools report. */
  const poolsSeen = new Set<string>();
  const encoder = new TextEncoder();
  const decoder = new TextDecoder();

  return {
    publish(deltas: readonly FleetDelta[]): void {
      for (const delta of deltas) {
        bus.publish(contracts.fleetChanged, [], delta);
        versionGauge.set(delta.version);
      }
    },

    /** False: a tracker with a later epoch has written. @throws SwitchyardError store_unavailable */
    saveSnapshot: (view: FleetView) => store.saveSnapshot(viewName, view.epoch, FleetView.encode(view)),

    async loadSnapshot(): Promise<FleetView | undefined> {
      const snapshot = await store.loadSnapshot(viewName);
      return snapshot && FleetView.decode(snapshot.value);
    },

    async saveCordon(instanceId: string, cordoned: boolean, reason: CordonReason): Promise<void> {
      if (cordoned) await store.set(cordonPrefix + instanceId, encoder.encode(reason));
      else await store.delete(cordonPrefix + instanceId);
    },

    /** Cordoned instances and why. */
    async loadCordons(): Promise<Map<string, CordonReason>> {
      const entries = await store.list(cordonPrefix);
      return new Map(
        entries.map(({ key, value }) => {
          const reason = decoder.decode(value);
          return [key.slice(cordonPrefix.length), reasons.includes(reason) ? (reason as CordonReason) : 'operator'];
        }),
      );
    },

    measure(states: Iterable<InstanceState>): void {
      const counts = new Map<string, number>();
      const count = (key: string) => counts.set(key, (counts.get(key) ?? 0) + 1);
      for (const { status, health, stale: isStale } of states) {
        if (!status) continue;
        poolsSeen.add(status.pool);
        count(`${status.pool}/${health}`);
        if (isStale) count(`${status.pool}/stale`);
      }
      for (const pool of poolsSeen) {
        for (const health of healths) instances.set(counts.get(`${pool}/${health}`) ?? 0, { pool, health });
        stale.set(counts.get(`${pool}/stale`) ?? 0, { pool });
      }
    },
  };
}
