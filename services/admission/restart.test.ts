import { expect, test, vi } from 'vitest';
import { AdmissionQueue } from '../../core/admission/queue.ts';
import { admissionSchema } from './config.ts';
import { admission } from './service.ts';
import { TestFleet, TestRouter } from './testing/test-fleet.ts';
import { type Ending, TestGateway } from './testing/test-gateway.ts';

const pools = [{ id: 'chat', models: ['m'], instances: 2, sim: { profile: 'p' }, price: { inputMicros: 1, outputMicros: 2 } }];

test('a queue whose step failed starts over under a higher epoch: requests that wait re-enter in order, none runs twice', async () => {
  const fleet = new TestFleet(['a', 'b'], 1);
  const { clock } = fleet.world;
  const starting = admission.start(admissionSchema.parse({ fleet: { pools } }), fleet.world.ports('admission-1'));
  await clock.advance(1);
  fleet.add(await starting);
  const router = new TestRouter(fleet.world.ports('router-1'));
  fleet.publish();
  await clock.advance(300);
  const gateway = new TestGateway(fleet, 'gateway-1');
  const t0 = clock.now();
  const names = Array.from({ length: 8 }, (_, index) => `r${index}`);
  let endings: Ending[] | undefined;
  void Promise.all(names.map((id, index) => gateway.submit(id, { arrivalMs: t0 + index, queueDeadlineMs: t0 + 60_000 }, 2_000))).then((all) => {
    endings = all;
  });
  await clock.advance(2_500);
  expect(router.batches.length).toBeGreaterThan(0);

  const failing = vi.spyOn(AdmissionQueue.prototype, 'allReady').mockImplementationOnce(() => {
    throw new Error('half done');
  });
  fleet.publish();
  await clock.until(() => endings !== undefined, 60_000);
  failing.mockRestore();

  expect(endings!.map(({ outcome }) => outcome)).toEqual(names.map(() => 'done'));
  expect(fleet.executions.map(({ requestId }) => requestId)).toEqual(names);
  const epochs = [...new Set(router.batches.map(({ epoch }) => epoch))];
  expect(epochs).toHaveLength(2);
  expect(epochs[1]).toBeGreaterThan(epochs[0]!);
  expect(fleet.world.telemetryOf('admission-1').value('switchyard_actor_restarts_total', { kind: 'queue' })).toBe(1);
  await fleet.stop();
});
