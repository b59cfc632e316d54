import { runService } from '../../lib/run/run-service.ts';
import { instanceTracker } from './service.ts';

await runService(instanceTracker);
