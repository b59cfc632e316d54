import { runService } from '../../lib/run/run-service.ts';
import { autoscaler } from './service.ts';

await runService(autoscaler);
