// What every Bus must do when one asks many: the twin, and NATS. Real time, like bus.test.ts.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { systemClock as clock } from '../../lib/clock/system-clock.ts';
import * as contracts from '../../lib/contracts.ts';
import { type BusNetwork, busNetworks, joinNetwork, settled } from '../support/bus-networks.ts';

const seconds = 1000;

const info = (id: string) => ({
  service: 'gateway',
  id,
  pid: 1,
  startedAtMs: 1,
  ready: true,
  notReadyBecause: '',
  owns: [],
  version: '',
  probeAddress: '',
});

describe.each(busNetworks)('gather: %s', (_kind, makeNetwork) => {
  let network: BusNetwork;
  beforeAll(async () => {
    network = await makeNetwork();
  });
  afterAll(() => network?.close());
  const join = () => joinNetwork(network);

  test('brings the answers of all who serve, without those who failed or were late', async () => {
    const asker = await join();
    const members = await Promise.all([join(), join(), join(), join()]);
    const release = Promise.withResolvers<void>();
    for (const [index, { bus, identity }] of members.entries()) {
      bus.serve(contracts.describeServices, [], async () => {
        if (index === 2) throw new SwitchyardError('draining', 'not now');
        if (index === 3) await release.promise;
        return info(identity);
      });
      await settled(bus);
    }
    const answers = await asker.bus.gather(contracts.describeServices, [], {}, { timeoutMs: 200 });
    expect(answers.map((answer) => answer.id).sort()).toEqual([members[0]!.identity, members[1]!.identity].sort());
    const before = clock.now();
    expect(await asker.bus.gather(contracts.describeServices, [], {}, { timeoutMs: 30 * seconds, expected: 2 })).toHaveLength(2);
    expect(clock.now() - before).toBeLessThan(15 * seconds);
    release.resolve();
  });

  test('does not wait its whole time for more when all who answered the last time have, and waits for the slow ones', async () => {
    const [asker, ...members] = await Promise.all([join(), join(), join(), join()]);
    let answerAfterMs = 0;
    const serve = async (index: number) => {
      const { bus, identity } = members[index]!;
      bus.serve(contracts.describeServices, [], async () => {
        if (index === 1) await new Promise<void>((resolve) => clock.after(answerAfterMs, resolve));
        return info(identity);
      });
      await settled(bus);
    };
    await serve(0);
    await serve(1);
    const gather = async (timeoutMs: number) => {
      const began = clock.now();
      const answers = await asker.bus.gather(contracts.describeServices, [], {}, { timeoutMs });
      return { ids: answers.map(({ id }) => id).sort(), tookMs: clock.now() - began };
    };
    const both = [members[0]!.identity, members[1]!.identity].sort();
    const first = await gather(300);
    expect(first.ids).toEqual(both);
    expect(first.tookMs).toBeGreaterThanOrEqual(300);
    const second = await gather(20 * seconds);
    expect(second.ids).toEqual(both);
    expect(second.tookMs).toBeLessThan(10 * seconds);
    // A slow one that is known is waited for, far longer than the quiet gap.
    answerAfterMs = 250;
    expect((await gather(20 * seconds)).ids).toEqual(both);
    // Somebody new is there at once.
    await serve(2);
    expect((await gather(20 * seconds)).ids).toEqual([...both, members[2]!.identity].sort());
  });

  test('one that answers too late for the quiet gap is waited for the next time; one that is gone costs the whole time once', async () => {
    const [asker, quick, slow] = [await join(), await join(), await join()];
    const pools = { pools: [] };
    quick.bus.serve(contracts.listPools, [], () => pools);
    await settled(quick.bus);
    const gather = async (timeoutMs: number) => {
      const began = clock.now();
      const { length } = await asker.bus.gather(contracts.listPools, [], {}, { timeoutMs, quietMs: 20 });
      return { length, waited: clock.now() - began >= timeoutMs };
    };
    expect(await gather(100)).toEqual({ length: 1, waited: true });
    const serving = slow.bus.serve(contracts.listPools, [], async () => {
      await new Promise<void>((resolve) => clock.after(200, resolve));
      return pools;
    });
    await settled(slow.bus);
    expect(await gather(600)).toEqual({ length: 1, waited: false });
    // Until the time of that one is up.
    await new Promise<void>((resolve) => clock.after(620, resolve));
    expect(await gather(1000)).toEqual({ length: 2, waited: false });
    await new Promise<void>((resolve) => clock.after(1000, resolve));
    await serving.stop();
    expect(await gather(100)).toEqual({ length: 1, waited: true });
    expect(await gather(5000)).toEqual({ length: 1, waited: false });
  });

  test('is empty at once when nobody serves', async () => {
    const asker = await join();
    const before = clock.now();
    expect(await asker.bus.gather(contracts.listPools, [], {}, { timeoutMs: 30 * seconds })).toEqual([]);
    expect(clock.now() - before).toBeLessThan(15 * seconds);
  });
});
