import { runService } from '../../lib/run/run-service.ts';
import { worker } from './service.ts';

await runService(worker);
