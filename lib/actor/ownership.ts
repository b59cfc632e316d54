// Keeps trying to own a name through a lease in the store. While the store is away an owner goes on: nobody else can
// take the lease then, and if one could, its higher epoch fences this one out at every receiver.
import type { Clock } from '../ports/clock.ts';
import type { Identity } from '../ports/ports.ts';
import type { Rng } from '../ports/rng.ts';
import type { Lease, Store } from '../ports/store.ts';
import type { Telemetry } from '../ports/telemetry.ts';

export interface Ownership {
  lease(): Lease | undefined;
  /** Gives the lease back and tries to get it again, under a higher epoch: whoever owned the name has lost its state. */
  startOver(): Promise<void>;
  /** Gives the lease back, so that another can take over at once. */
  stop(): Promise<void>;
}

export interface OwnershipOptions {
  readonly name: string;
  readonly owner: string;
  readonly ttlMs: number;
  readonly clock: Clock;
  readonly store: Store;
  readonly telemetry: Telemetry;
  readonly gained: (lease: Lease) => void;
  readonly lost: (lease: Lease) => void;
}

/** Who holds a lease: this run of this process. One that was restarted under the same name is another owner, with a higher epoch. */
export function leaseOwner(ports: { readonly identity: Identity; readonly rng: Rng }): string {
  return `${ports.identity.id}/${ports.rng.id('')}`;
}

export function keepOwning(options: OwnershipOptions): Ownership {
  const { name, owner, ttlMs, clock, store, telemetry } = options;
  let held: Lease | undefined;
  let stopped = false;
  let cancel = () => {};
  let running: Promise<void> = Promise.resolve();

  async function attempt(): Promise<void> {
    try {
      if (held) {
        if (!(await store.renew(held, ttlMs)) && !stopped) {
          const was = held;
          held = undefined;
          telemetry.log.warn('lease lost', { lease: name, epoch: was.epoch });
          options.lost(was);
        }
      }
      if (!held && !stopped) {
        const lease = await store.acquire(name, owner, ttlMs);
        if (lease && !stopped) {
          held = lease;
          telemetry.log.info('lease gained', { lease: name, epoch: lease.epoch });
          options.gained(lease);
        } else if (lease) await store.release(lease);
      }
    } catch (thrown) {
      telemetry.log.warn('lease not renewed, store unavailable', { lease: name, error: String(thrown) });
    }
    if (!stopped) cancel = clock.after(held ? ttlMs / 3 : ttlMs / 6, again);
  }

  function again(): void {
    running = attempt();
  }

  async function letGo(): Promise<void> {
    cancel();
    await running;
    // The attempt that was awaited has set the next one.
    cancel();
    if (!held) return;
    const was = held;
    held = undefined;
    options.lost(was);
    // Not released, it runs out: others, and this owner too, wait for that.
    await store.release(was).catch(() => {});
  }

  again();
  return {
    lease: () => held,
    async startOver() {
      await letGo();
      if (!stopped) again();
    },
    async stop() {
      stopped = true;
      await letGo();
    },
  };
}
