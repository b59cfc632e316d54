// migrateRequest as Temporal runs it; the body is core/workflows/migrate-request.ts.
import type { WorkflowInputs, WorkflowResults } from '../../core/workflows/catalogue.ts';
import { migrateRequest as body } from '../../core/workflows/migrate-request.ts';
import { runBody } from '../../lib/workflows/sandbox/control.ts';

export function migrateRequest(input: WorkflowInputs['migrateRequest']): Promise<WorkflowResults['migrateRequest']> {
  return runBody<'migrateRequest'>(body, input);
}
