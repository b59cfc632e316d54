// All activities of all workflows, over ports.
import type { ActivityImplementations } from '../core/workflows/activities.ts';
import type { Ports } from '../lib/ports/ports.ts';
import { approvalActivities } from './approval/activities.ts';
import { drainInstanceActivities } from './drain-instance/activities.ts';
import { migrateRequestActivities } from './migrate-request/activities.ts';
import { scalePoolActivities } from './scale-pool/activities.ts';
import type { ActivitySettings } from './settings.ts';
import { transferKvActivities } from './transfer-kv/activities.ts';

export function createActivities(ports: Ports, settings: ActivitySettings): ActivityImplementations {
  return {
    ...migrateRequestActivities(ports, settings),
    ...transferKvActivities(ports, settings),
    ...drainInstanceActivities(ports, settings),
    ...scalePoolActivities(ports, settings),
    ...approvalActivities(ports, settings),
  };
}
