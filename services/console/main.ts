import { runService } from '../../lib/run/run-service.ts';
import { console } from './service.ts';

await runService(console);
