// Several services in one process: `node cli/together.ts gateway admission router`. What they ask each other stays within
// the process; to everybody else they are what they are alone. docs/decisions/0036-services-together.md says when this pays.
import type { AnyService } from '../lib/run/hosted-service.ts';
import { runServices } from '../lib/run/run-service.ts';
import { type ServiceName, serviceNames } from '../lib/run/service.ts';

const load: Readonly<Record<ServiceName, () => Promise<AnyService>>> = {
  gateway: async () => (await import('../services/gateway/service.ts')).gateway,
  admission: async () => (await import('../services/admission/service.ts')).admission,
  router: async () => (await import('../services/router/service.ts')).router,
  'instance-tracker': async () => (await import('../services/instance-tracker/service.ts')).instanceTracker,
  'migration-coordinator': async () => (await import('../services/migration-coordinator/service.ts')).migrationCoordinator,
  autoscaler: async () => (await import('../services/autoscaler/service.ts')).autoscaler,
  agent: async () => (await import('../services/agent/service.ts')).agent,
  worker: async () => (await import('../services/worker/service.ts')).worker,
  console: async () => (await import('../services/console/service.ts')).console,
};

const wanted = process.argv.slice(2);
const wrong = wanted.filter((name) => !Object.hasOwn(load, name));
if (wanted.length === 0 || wrong.length > 0 || new Set(wanted).size < wanted.length) {
  const why = wrong.length > 0 ? `There is no service ${wrong.join(', ')}.` : 'Name each service that is to run in this process once.';
  process.stderr.write(`${why} Services: ${serviceNames.join(', ')}. Example: node cli/together.ts gateway admission router\n`);
  process.exit(2);
}
// In the order of the names: who asks ends before who answers.
await runServices(await Promise.all(serviceNames.filter((name) => wanted.includes(name)).map((name) => load[name]())));
