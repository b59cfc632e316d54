// Ports of a process in trouble, for tests: one that can be killed or hang, and one whose messages get lost or repeated.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { Bus, Subscription } from '../ports/bus.ts';
import { sleep } from '../ports/clock.ts';
import type { Ports } from '../ports/ports.ts';
import type { Store } from '../ports/store.ts';
import { seededRng } from '../rng/seeded-rng.ts';

/** A process that can be stopped: killed for good, or held up like one that is swapped out. */
export interface KillableProcess {
  readonly ports: Ports;
  /** `crash`: nothing it does reaches anyone any more. `hang`: everything waits for `resume`, and then happens late. */
  kill(how: 'crash' | 'hang'): void;
  resume(): void;
}

export function killable(ports: Ports): KillableProcess {
  const { bus, store, clock } = ports;
  const subscriptions: Subscription[] = [];
  let stopped: 'crash' | 'hang' | undefined;
  const held: (() => void)[] = [];

  /** At once while the process lives, on `resume` when it hangs, never when it is dead. */
  function whenAlive(run: () => void): void {
    if (!stopped) run();
    else if (stopped === 'hang') held.push(run);
  }
  const alive = () => new Promise<void>((resolve) => whenAlive(resolve));

  async function delayed<T>(run: () => Promise<T>): Promise<T> {
    await alive();
    try {
      return await run();
    } finally {
      await alive();
    }
  }

  function keep(subscription: Subscription): Subscription {
    subscriptions.push(subscription);
    return subscription;
  }

  const mortalBus: Bus = {
    ...bus,
    publish: (...args) => whenAlive(() => bus.publish(...args)),
    record: (...args) => delayed(() => bus.record(...args)),
    request: (...args) => delayed(() => bus.request(...args)),
    subscribe: (topic, keys, handler, options) => keep(bus.subscribe(topic, keys, (...args) => whenAlive(() => handler(...args)), options)),
    serve: (rpc, keys, handler, options) =>
      keep(
        bus.serve(
          rpc,
          keys,
          async (question, context) => {
            await alive();
            if (clock.now() >= context.meta.deadlineMs) return new Promise(() => {});
            const answer = await handler(question, context);
            await alive();
            return answer;
          },
          options,
        ),
      ),
    consume: async (topic, durable, handler) => keep(await bus.consume(topic, durable, (...args) => delayed(() => handler(...args)))),
  };
  const mortalStore = new Proxy(store, {
    get(target, name: keyof Store) {
      const member = target[name] as (...args: unknown[]) => unknown;
      if (name === 'connected') return () => target.connected();
      if (name === 'onReconnect') return (run: (lostAtMs: number) => void) => target.onReconnect((lostAtMs) => whenAlive(() => run(lostAtMs)));
      return (...args: unknown[]) => delayed(async () => member.apply(target, args));
    },
  });
  return {
    ports: {
      ...ports,
      bus: mortalBus,
      store: mortalStore,
      clock: { now: () => clock.now(), after: (delayMs, run) => clock.after(delayMs, () => whenAlive(run)) },
    },
    kill(how) {
      stopped = how;
      if (how === 'crash') for (const subscription of subscriptions) void subscription.stop();
    },
    resume() {
      stopped = undefined;
      for (const run of held.splice(0)) run();
    },
  };
}

/** Loses, with probability `loss`, published messages, questions before and answers after they were handled; and repeats some. */
export function lossy(ports: Ports, loss: number, seed: number): Ports {
  const { bus, clock } = ports;
  const rng = seededRng(seed);
  const unlucky = () => rng.next() < loss;
  const lost = async (timeoutMs: number) => {
    await sleep(clock, timeoutMs);
    throw new SwitchyardError('timeout', 'lost');
  };
  return {
    ...ports,
    bus: {
      ...bus,
      publish: (...args) => {
        if (!unlucky()) bus.publish(...args);
        if (unlucky()) bus.publish(...args);
      },
      request: async (rpc, keys, question, options) => {
        if (unlucky()) return (await lost(options.timeoutMs)) as never;
        const answer = bus.request(rpc, keys, question, options);
        if (unlucky()) void bus.request(rpc, keys, question, options).catch(() => {});
        if (!unlucky()) return answer;
        await answer.catch(() => {});
        return (await lost(options.timeoutMs)) as never;
      },
    },
  };
}
