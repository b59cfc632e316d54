// The bodies by name, for whoever hosts them.
import type { ActivityCatalogue } from './activities.ts';
import { approval } from './approval.ts';
import type { WorkflowInputs, WorkflowName, WorkflowResults } from './catalogue.ts';
import type { WorkflowControl } from './control.ts';
import { drainInstance } from './drain-instance.ts';
import { migrateRequest } from './migrate-request.ts';
import { scalePool } from './scale-pool.ts';
import { transferKv } from './transfer-kv.ts';

export type WorkflowBody<N extends WorkflowName> = (
  input: WorkflowInputs[N],
  act: ActivityCatalogue,
  ctl: WorkflowControl,
) => Promise<WorkflowResults[N]>;

export const bodies: { readonly [N in WorkflowName]: WorkflowBody<N> } = { migrateRequest, transferKv, drainInstance, scalePool, approval };
