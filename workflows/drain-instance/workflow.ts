// drainInstance as Temporal runs it; the body is core/workflows/drain-instance.ts.
import type { WorkflowInputs, WorkflowResults } from '../../core/workflows/catalogue.ts';
import { drainInstance as body } from '../../core/workflows/drain-instance.ts';
import { runBody } from '../../lib/workflows/sandbox/control.ts';

export function drainInstance(input: WorkflowInputs['drainInstance']): Promise<WorkflowResults['drainInstance']> {
  return runBody<'drainInstance'>(body, input);
}
