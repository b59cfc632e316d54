import { runService } from '../../lib/run/run-service.ts';
import { router } from './service.ts';

await runService(router);
