// approval as Temporal runs it; the body is core/workflows/approval.ts.

import { approval as body } from '../../core/workflows/approval.ts';
import type { WorkflowInputs, WorkflowResults } from '../../core/workflows/catalogue.ts';
import { runBody } from '../../lib/workflows/sandbox/control.ts';

export function approval(input: WorkflowInputs['approval']): Promise<WorkflowResults['approval']> {
  return runBody<'approval'>(body, input);
}
