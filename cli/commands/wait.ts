// Waits for a workflow that a command has started.
import { setTimeout as pause } from 'node:timers/promises';
import type { StartedAnswer, WorkflowRow } from '../../lib/operator/types.ts';
import { CommandFailure } from '../client.ts';
import { duration, say } from '../output.ts';
import { type Context, path, present } from './context.ts';

const pollMs = 250;

/** What the results of migrations, drains and scalings have, each some of it. */
interface Outcome {
  readonly outcome?: string;
  readonly code?: string;
  readonly stages?: number;
  readonly bytes?: number;
  readonly downtimeMs?: number;
  readonly moved?: number;
  readonly left?: number;
  readonly started?: readonly string[];
  readonly stopped?: readonly string[];
}

function ending(row: WorkflowRow): { outcome: string; code: string; facts: string } {
  const result = (row.result ?? {}) as Outcome;
  return { outcome: result.outcome ?? row.status, code: result.code ?? '', facts: factsOf(result) };
}

function factsOf(result: Outcome): string {
  const facts: string[] = [];
  if (result.downtimeMs !== undefined)
    facts.push(`${result.stages} stages, ${((result.bytes ?? 0) / 1024).toFixed(0)} KB, paused for ${duration(result.downtimeMs)}`);
  if (result.moved !== undefined) facts.push(`${result.moved} moved, ${result.left} left`);
  if (result.started?.length) facts.push(`started ${result.started.join(' ')}`);
  if (result.stopped?.length) facts.push(`stopped ${result.stopped.join(' ')}`);
  return facts.join('; ');
}

/** @throws CommandFailure (exit code 4) when the workflow ended otherwise than asked for */
export async function waitForWorkflow(context: Context, started: StartedAnswer, what: string): Promise<void> {
  if (started.approvalId && !context.json) say(`${what} waits for a person: switchyard --as <someone else> approve ${started.approvalId}`);
  for (;;) {
    const row = await context.client.get<WorkflowRow>(path('workflows', started.workflowId));
    if (row.status !== 'running') {
      const { outcome, code, facts } = ending(row);
      const told = `${what}: ${outcome}${code ? ` (${code})` : ''}${facts ? `; ${facts}` : ''}`;
      if (!['committed', 'completed', 'empty'].includes(outcome)) throw new CommandFailure(told, 4, code || outcome);
      present(context, row, () => say(told));
      return;
    }
    await pause(pollMs);
  }
}
