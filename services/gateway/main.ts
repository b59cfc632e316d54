import { runService } from '../../lib/run/run-service.ts';
import { gateway } from './service.ts';

await runService(gateway);
