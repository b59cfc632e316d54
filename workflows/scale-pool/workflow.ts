// scalePool as Temporal runs it; the body is core/workflows/scale-pool.ts.
import type { WorkflowInputs, WorkflowResults } from '../../core/workflows/catalogue.ts';
import { scalePool as body } from '../../core/workflows/scale-pool.ts';
import { runBody } from '../../lib/workflows/sandbox/control.ts';

export function scalePool(input: WorkflowInputs['scalePool']): Promise<WorkflowResults['scalePool']> {
  return runBody<'scalePool'>(body, input);
}
