// workflows, workflow: long operations, by what they are about, and what one of them has done.
import { type Command, InvalidArgumentError } from 'commander';
import type { WorkflowListRow, WorkflowRow } from '../../lib/operator/types.ts';
import { duration, printTable, say } from '../output.ts';
import { type ContextOf, examples, path, present, requestId } from './context.ts';

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a whole number, 1 or more');
  return value;
}

function showList(rows: readonly WorkflowListRow[]): void {
  printTable(
    rows,
    [
      { title: 'WORKFLOW', value: (row) => row.id },
      { title: 'STATUS', value: (row) => row.status },
      { title: 'TOOK', value: (row) => duration((row.closedAtMs ?? Date.now()) - row.startedAtMs), align: 'right' },
      { title: 'WHAT', value: (row) => row.summary || row.name },
    ],
    'No such workflow.',
  );
}

function showOne(row: WorkflowRow): void {
  say(`${row.id}: ${row.summary || row.name}`);
  say(`${row.status}, begun ${new Date(row.startedAtMs).toISOString()}, ${duration((row.closedAtMs ?? Date.now()) - row.startedAtMs)}`);
  if (row.story !== '') say(row.story);
  if (row.result !== null) say(JSON.stringify(row.result));
}

export function addWorkflowCommands(program: Command, contextOf: ContextOf): void {
  program
    .command('workflows')
    .description('migrations, drains, scalings and approvals, newest first')
    .option('--request <id>', 'about this request')
    .option('--instance <id>', 'about this instance')
    .option('--pool <name>', 'about this pool')
    .option('--running', 'that have not ended')
    .option('--limit <n>', 'at most so many', count, 20)
    .addHelpText('after', examples('workflows --request req-4fd1', 'workflows --instance chat-1 --running'))
    .action(async (options: { request?: string; instance?: string; pool?: string; running?: boolean; limit: number }) => {
      const context = contextOf();
      const query = new URLSearchParams({ limit: String(options.limit) });
      if (options.request !== undefined) query.set('request', requestId(options.request));
      if (options.instance !== undefined) query.set('instance', options.instance);
      if (options.pool !== undefined) query.set('pool', options.pool);
      if (options.running) query.set('running', 'true');
      present(context, await context.client.get<WorkflowListRow[]>(`/workflows?${query}`), showList);
    });

  program
    .command('workflow')
    .argument('<id>', 'its id: see "switchyard workflows"')
    .description('what a workflow is for, what it has done so far, and how it ended')
    .action(async (id: string) => {
      const context = contextOf();
      present(context, await context.client.get<WorkflowRow>(`${path('workflows', id)}?story=true`), showOne);
    });
}
