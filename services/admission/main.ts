import { runService } from '../../lib/run/run-service.ts';
import { admission } from './service.ts';

await runService(admission);
