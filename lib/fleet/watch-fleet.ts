// Keeps the newest fleet view in a service: the tracker pushes differences; pages are asked for at the start, when a
// difference is missing, and whenever pushes stop. What was repeated or came late is ignored.
import { type FleetChange, FleetReplica } from '../../core/tracking/fleet-replica.ts';
import type { FleetView } from '../../proto/gen/messages.ts';
import { fleetChanged } from '../contracts.ts';
import type { Bus } from '../ports/bus.ts';
import { type Clock, every, sleep } from '../ports/clock.ts';
import type { Rng } from '../ports/rng.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { pagesOf } from './ask-fleet.ts';

export interface FleetWatchOptions {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly rng: Rng;
  readonly telemetry: Telemetry;
  /** Called with what each newer view changes; `view()` has it then. */
  readonly changed?: (change: FleetChange) => void;
  /** Without a push for this long the tracker is asked. */
  readonly askAfterMs?: number;
}

export interface FleetWatch {
  /** The newest whole view. The same object until there is a newer one; made when it is asked for. */
  view(): FleetView | undefined;
  /** Since the newest view was taken, this process's clock; Infinity before the first. */
  ageMs(): number;
  /** Resolves with true when a newer view has come, with false after `withinMs`. */
  newer(withinMs: number): Promise<boolean>;
  stop(): Promise<void>;
}

/** What is missing may be on its way, and all who miss it do not ask at once: they wait up to this long, ms. */
const maxJitterMs = 50;
/** Waits between questions that were of no use double, up to this, ms; each is jittered by half. */
const maxBackoffMs = 2_000;
/** Differences that belong to the pages come within this after the last of them, or are lost, ms. */
const settleMs = 100;

export function watchFleet(options: FleetWatchOptions): FleetWatch {
  const { bus, clock, rng, telemetry } = options;
  const askAfterMs = options.askAfterMs ?? 2_000;
  const replica = new FleetReplica();
  const version = telemetry.gauge('switchyard_fleet_view_version');
  const collected = telemetry.counter('switchyard_fleet_snapshots_total');
  let takenAtMs = Number.NEGATIVE_INFINITY;
  let asking = false;
  let stopped = false;
  /** As many as there are callers that wait; none waits longer than it said. */
  const waiting = new Set<() => void>();

  function heard(changes: readonly FleetChange[]): void {
    for (const change of changes) {
      takenAtMs = clock.now();
      version.set(change.version);
      options.changed?.(change);
    }
    if (changes.length > 0) for (const resume of [...waiting]) resume();
  }

  function silent(): boolean {
    return clock.now() - takenAtMs >= askAfterMs;
  }

  /** Asks for pages until there is a whole view of them, or the differences that were missing have come. One at a time. */
  async function ask(cause: 'start' | 'gap' | 'silence'): Promise<void> {
    if (asking || stopped) return;
    asking = true;
    let waitMs = cause === 'start' ? 0 : rng.next() * maxJitterMs;
    for (let attempt = 0; !stopped; attempt++) {
      if (waitMs > 0) await sleep(clock, waitMs);
      const needed = replica.behind() || (attempt === 0 && (cause === 'start' || silent()));
      if (stopped || !needed || (await collect(cause))) break;
      waitMs = Math.min(maxBackoffMs, maxJitterMs * 2 ** attempt) * (0.5 + rng.next() / 2);
    }
    asking = false;
  }

  async function collect(cause: string): Promise<boolean> {
    let result = 'failed';
    replica.startCollecting();
    try {
      let after = '';
      for await (const page of pagesOf(bus, { timeoutMs: Math.min(1_000, askAfterMs) })) {
        const taken = stopped ? false : replica.takePage(page, after);
        if (!taken) return false;
        heard(taken);
        after = page.nextAfter;
      }
      if (replica.behind()) await newer(settleMs);
      if (!replica.behind()) result = 'taken';
    } catch (thrown) {
      telemetry.log.debug('no answer from the tracker', { error: String(thrown) });
    } finally {
      replica.stopCollecting();
      collected.add(1, { cause, result });
    }
    return result === 'taken';
  }

  function newer(withinMs: number): Promise<boolean> {
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
  }

  const subscription = bus.subscribe(fleetChanged, [], (delta) => {
    if (stopped) return;
    heard(replica.take(delta));
    if (replica.behind()) void ask('gap');
  });
  const cancel = every(clock, askAfterMs, () => {
    if (silent()) void ask('silence');
  });
  void ask('start');
  return {
    view: () => replica.view(),
    ageMs: () => clock.now() - takenAtMs,
    newer,
    async stop() {
      stopped = true;
      cancel();
      await subscription.stop();
    },
  };
}
