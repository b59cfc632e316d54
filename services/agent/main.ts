import { runService } from '../../lib/run/run-service.ts';
import { agent } from './service.ts';

await runService(agent);
