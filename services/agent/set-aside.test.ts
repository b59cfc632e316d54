// An engine that answers with faults: the agent sees it, keeps requests away from it, asks it now and then, and takes it
// back when it is well.
import { expect, test } from 'vitest';
import { createMemoryWorld } from '../../lib/run/memory-ports.ts';
import { agentConfig, chatBody, startAgent, TestGateway, watchStatus } from './agent-fixtures.ts';

async function failing(status = 503) {
  const world = createMemoryWorld();
  const ports = world.ports('agent-1');
  const reports = watchStatus(world.ports('watcher'));
  const pretend = { i: { status, retryAfterMs: 700 } };
  const agent = await startAgent(ports, 'i', { pretend });
  await world.clock.advance(200);
  const gateway = await TestGateway.connect(world.ports('gateway-1').net, reports.get('i')!.address);
  const opened = () =>
    world.telemetryOf('agent-1').value('switchyard_engine_opens_total', { pool: 'chat', instance_id: 'i', result: 'engine_unavailable' });
  return { world, agent, reports, gateway, opened };
}

test('requests end with its answer, and after three it gets none: they are turned away before it, and readers are told', async () => {
  const { world, reports, gateway, opened } = await failing();
  const codes: string[] = [];
  for (let number = 0; number < 6; number++) {
    const request = gateway.open('i', `r${number}`, { body: chatBody('Hello', 4) });
    await world.clock.until(() => request.error !== undefined, 1_000);
    codes.push(`${request.error!.code} ${request.error!.retryAfterMs}`);
  }
  expect(codes).toEqual([...Array(3).fill('engine_unavailable 700'), ...Array(3).fill('engine_unavailable 1000')]);
  expect(opened()).toBe(3);
  await world.clock.advance(100);
  expect(reports.get('i')).toMatchObject({ accepting: false, setAside: 'engine_unavailable' });
});

test('it is asked for a token now and then, and gets requests again within half a second of being well', async () => {
  const { world, agent, reports, gateway, opened } = await failing();
  for (let number = 0; number < 3; number++) gateway.open('i', `r${number}`, { body: chatBody('Hello', 4) });
  await world.clock.advance(10_000);
  const probes = world
    .telemetryOf('agent-1')
    .value('switchyard_engine_probes_total', { pool: 'chat', instance_id: 'i', result: 'engine_unavailable' });
  expect(probes).toBeGreaterThan(10);
  expect(probes).toBeLessThan(40);
  expect(opened()).toBe(3);
  agent.reconfigure!(agentConfig({ instances: ['chat/i'] }));
  await world.clock.advance(500);
  expect(reports.get('i')).toMatchObject({ accepting: true, setAside: '' });
  const request = gateway.open('i', 'again', { body: chatBody('Hello', 4) });
  await world.clock.until(() => request.finish !== undefined, 5_000);
  expect(request.ids).toHaveLength(4);
});
