import { expect, test } from 'vitest';
import { describeServices, findSpans } from '../contracts.ts';
import { serveDescription } from './describe.ts';
import { createMemoryWorld } from './memory-ports.ts';

test('processes of one world share bus, store, net and http, and keep their own identity and counters', async () => {
  const world = createMemoryWorld();
  const [a, b] = [world.ports('router-1'), world.ports('gateway-1')];
  expect(world.ports('router-1')).toBe(a);
  expect(a.identity.id).toBe('router-1');

  const lease = await a.store.acquire('queue/chat', 'router-1', 1000);
  expect(lease).toBeDefined();
  expect(await b.store.acquire('queue/chat', 'gateway-1', 1000)).toBeUndefined();

  const server = await a.http.serve({ host: 'a', port: 80 }, (_request, response) => {
    response.head(200, {});
    response.end('from a');
  });
  expect(await (await world.http.fetch(`${server.address}/`)).text()).toBe('from a');

  a.telemetry.counter('switchyard_actor_crashes_total').add(1, { kind: 'x' });
  expect(world.telemetryOf('router-1').value('switchyard_actor_crashes_total')).toBe(1);
  expect(world.telemetryOf('gateway-1').value('switchyard_actor_crashes_total')).toBe(0);
});

test('one seed gives one run, another seed another', () => {
  const ids = (seed: number) => {
    const world = createMemoryWorld({ seed });
    return [world.ports('a').rng.id('r-'), world.ports('b').rng.id('r-')];
  };
  expect(ids(1)).toEqual(ids(1));
  expect(ids(1)).not.toEqual(ids(2));
  expect(ids(1)[0]).not.toBe(ids(1)[1]);
});

test('every process describes itself and finds its spans, a reply never grows beyond one message', async () => {
  const world = createMemoryWorld();
  const telemetry = world.telemetryOf('router-1');
  const ports = world.ports('router-1');
  let ready: true | string = 'waiting';
  const description = serveDescription({
    bus: ports.bus,
    service: 'router',
    identity: ports.identity,
    version: '1.0.0',
    startedAtMs: 5,
    ready: () => ready,
    owns: () => ['queue/chat@7'],
    spans: telemetry.ring,
  });
  const root = telemetry.start('request', { attributes: { 'switchyard.request.id': 'req-1' } });
  for (let index = 0; index < 1999; index++) {
    telemetry.start('part', { parent: root.context, attributes: { 'switchyard.top': 'x'.repeat(500) } }).end();
  }
  root.end();

  const asking = world.ports('console-1').bus;
  const ask = async () => {
    const answers = asking.gather(describeServices, [], {}, { timeoutMs: 100, expected: 1 });
    await world.clock.advance(100);
    return (await answers)[0];
  };
  expect(await ask()).toMatchObject({
    service: 'router',
    id: 'router-1',
    ready: false,
    notReadyBecause: 'waiting',
    owns: ['queue/chat@7'],
    version: '1.0.0',
  });
  ready = true;
  expect(await ask()).toMatchObject({ ready: true, notReadyBecause: '' });

  const found = asking.gather(findSpans, [], { requestId: 'req-1', traceId: '' }, { timeoutMs: 100, expected: 1 });
  await world.clock.advance(100);
  const spans = (await found)[0]?.spans ?? [];
  expect(spans.length).toBeGreaterThan(500);
  expect(spans.reduce((bytes, span) => bytes + span.attributesJson.length, 0)).toBeLessThan(600_000);

  await description.stop();
  expect(await ask()).toBeUndefined();
});
