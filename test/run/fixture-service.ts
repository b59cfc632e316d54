// A service that does as little as a service can, for test/run: it answers one question and ends as its configuration says.
import { z } from 'zod';
import { listPools } from '../../lib/contracts.ts';
import { runService } from '../../lib/run/run-service.ts';
import type { Service } from '../../lib/run/service.ts';

const schema = z.strictObject({
  greeting: z.string().max(20).default('hello'),
  readyAfterMs: z.int().min(0).default(0),
  drainTakesMs: z.int().min(0).default(0),
  failure: z.enum(['none', 'start', 'rejection']).default('none'),
});

const fixture: Service<z.infer<typeof schema>> = {
  name: 'router',
  schema,
  async start(config, ports) {
    if (config.failure === 'start') throw new Error('cannot start');
    let current = config;
    const readyAtMs = ports.clock.now() + config.readyAfterMs;
    // Answers with its greeting, inside a span that names the request.
    const serving = ports.bus.serve(listPools, [], () =>
      ports.telemetry.span('greet', { attributes: { 'switchyard.request.id': 'req-fixture' } }, () => ({ pools: [] })),
    );
    if (config.failure === 'rejection') ports.clock.after(10, () => void Promise.reject(new Error('nobody handles this')));
    ports.telemetry.log.info('fixture', { greeting: current.greeting });
    return {
      ready: () => ports.clock.now() >= readyAtMs || 'warming up',
      owns: () => ['fixture/one@1'],
      reconfigure(changed) {
        current = changed;
        ports.telemetry.log.info('fixture', { greeting: current.greeting });
      },
      async drain() {
        await serving.stop();
        await new Promise<void>((resolve) => ports.clock.after(config.drainTakesMs, resolve));
        ports.telemetry.log.info('fixture drained');
      },
    };
  },
};

await runService(fixture);
