import { runService } from '../../lib/run/run-service.ts';
import { migrationCoordinator } from './service.ts';

await runService(migrationCoordinator);
