// Keeps the newest fleet view in a service: pushed by the tracker, asked for at the start and whenever pushes stop.
// Every view is whole, so a lost one is repaired by the next; repeated and older ones are ignored.
import { compareViews } from '../../core/tracking/fleet-view.ts';
import type { FleetView } from '../../proto/gen/messages.ts';
import { fleetChanged, getFleet } from '../contracts.ts';
import type { Bus } from '../ports/bus.ts';
import { type Clock, every } from '../ports/clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';

export interface FleetWatchOptions {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Called with each newer view. */
  readonly changed: (view: FleetView) => void;
  /** Without a push for this long the tracker is asked. */
  readonly askAfterMs?: number;
}

export interface FleetWatch {
  view(): FleetView | undefined;
  /** Since the newest view was taken, this process's clock; Infinity before the first. */
  ageMs(): number;
  /** Resolves with true when a newer view has come, with false after `withinMs`. */
  newer(withinMs: number): Promise<boolean>;
  stop(): Promise<void>;
}

export function watchFleet(options: FleetWatchOptions): FleetWatch {
  const { bus, clock, telemetry } = options;
  const askAfterMs = options.askAfterMs ?? 2_000;
  let newest: FleetView | undefined;
  let takenAtMs = Number.NEGATIVE_INFINITY;
  let asking = false;
  let stopped = false;
  /** As many as there are callers that wait; none waits longer than it said. */
  const waiting = new Set<() => void>();

  function take(view: FleetView): void {
    if (stopped || (newest && compareViews(view, newest) <= 0)) return;
    newest = view;
    takenAtMs = clock.now();
    telemetry.gauge('switchyard_fleet_view_version').set(view.version);
    options.changed(view);
    for (const resume of [...waiting]) resume();
  }

  async function ask(): Promise<void> {
    if (asking || stopped) return;
    asking = true;
    try {
      take(await bus.request(getFleet, [], {}, { timeoutMs: Math.min(1_000, askAfterMs) }));
    } catch (thrown) {
      telemetry.log.debug('no answer from the tracker', { error: String(thrown) });
    } finally {
      asking = false;
    }
  }

  const subscription = bus.subscribe(fleetChanged, [], take);
  const cancel = every(clock, askAfterMs, () => {
    if (clock.now() - takenAtMs >= askAfterMs) void ask();
  });
  void ask();
  return {
    view: () => newest,
    ageMs: () => clock.now() - takenAtMs,
    newer(withinMs) {
      if (withinMs <= 0) return Promise.resolve(false);
      return new Promise((resolve) => {
        const end = (came: boolean) => {
          waiting.delete(resume);
          cancelTimer();
          resolve(came);
        };
        const resume = () => end(true);
        const cancelTimer = clock.after(withinMs, () => end(false));
        waiting.add(resume);
      });
    },
    async stop() {
      stopped = true;
      cancel();
      await subscription.stop();
    },
  };
}
