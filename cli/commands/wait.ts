// Waits for a workflow that a command has started.
import { setTimeout as pause } from 'node:timers/promises';
import type { StartedAnswer, WorkflowRow } from '../../lib/operator/types.ts';
import { CommandFailure } from '../client.ts';
import { say } from '../output.ts';
import { type Context, path, present } from './context.ts';

const pollMs = 250;

function ending(row: WorkflowRow): { outcome: string; code: string } {
  const result = (row.result ?? {}) as { outcome?: string; code?: string };
  return { outcome: result.outcome ?? row.status, code: result.code ?? '' };
}

/** @throws CommandFailure (exit code 4) when the workflow ended otherwise than asked for */
export async function waitForWorkflow(context: Context, started: StartedAnswer, what: string): Promise<void> {
  if (started.approvalId && !context.json) say(`${what} waits for a person: switchyard --as <someone else> approve ${started.approvalId}`);
  for (;;) {
    const row = await context.client.get<WorkflowRow>(path('workflows', started.workflowId));
    if (row.status !== 'running') {
      const { outcome, code } = ending(row);
      if (!['committed', 'completed', 'empty'].includes(outcome))
        throw new CommandFailure(`${what}: ${outcome}${code ? ` (${code})` : ''}`, 4, code || outcome);
      present(context, row, () => say(`${what}: ${outcome}`));
      return;
    }
    await pause(pollMs);
  }
}
