// transferKv as Temporal runs it; the body is core/workflows/transfer-kv.ts.
import type { WorkflowInputs, WorkflowResults } from '../../core/workflows/catalogue.ts';
import { transferKv as body } from '../../core/workflows/transfer-kv.ts';
import { runBody } from '../../lib/workflows/sandbox/control.ts';

export function transferKv(input: WorkflowInputs['transferKv']): Promise<WorkflowResults['transferKv']> {
  return runBody<'transferKv'>(body, input);
}
