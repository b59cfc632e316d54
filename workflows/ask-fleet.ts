// Instances as they are now, from the publishing tracker.
import { SwitchyardError } from '../core/errors/switchyard-error.ts';
import { askInstance } from '../lib/fleet/ask-fleet.ts';
import { sleep } from '../lib/ports/clock.ts';
import type { Ports } from '../lib/ports/ports.ts';
import type { FleetView, InstanceView } from '../proto/gen/messages.ts';

export function instanceIn(view: FleetView, instanceId: string): InstanceView | undefined {
  return view.instances.find((instance) => instance.status?.instanceId === instanceId);
}

/** Does not serve any more, and will not without being started again. */
export function isGone(instance: InstanceView | undefined): instance is undefined {
  return !instance || instance.health === 'dead';
}

const betweenLooksMs = 100;

/**
 * Request ids on an instance, from a report that it made after this was asked: an older one may miss a request that
 * has just arrived. Empty for an instance that is gone.
 * @throws SwitchyardError `timeout` when it does not report within `withinMs`
 */
export async function freshSequences(ports: Ports, instanceId: string, timeoutMs: number, withinMs: number): Promise<readonly string[]> {
  const first = await askInstance(ports.bus, instanceId, timeoutMs);
  const untilMs = ports.clock.now() + withinMs;
  for (let { instance } = first; ; { instance } = await askInstance(ports.bus, instanceId, timeoutMs)) {
    if (isGone(instance)) return [];
    // Both are times of a tracker; after a change of trackers the new one has heard everybody anew.
    if (instance.receivedAtMs > first.atMs) return (instance.status?.sequences ?? []).map((sequence) => sequence.requestId);
    if (ports.clock.now() >= untilMs) throw new SwitchyardError('timeout', `${instanceId} has not reported for ${withinMs} ms`);
    await sleep(ports.clock, betweenLooksMs);
  }
}
