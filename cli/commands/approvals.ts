// approvals, approve, reject, audit: decisions that wait for people.
import { type Command, InvalidArgumentError } from 'commander';
import colors from 'picocolors';
import type { AuditRow } from '../../lib/operator/types.ts';
import type { ApprovalState } from '../../proto/gen/messages.ts';
import { CommandFailure } from '../client.ts';
import { duration, printTable, say } from '../output.ts';
import { type Context, type ContextOf, examples, path, present } from './context.ts';

function showApprovals(approvals: readonly ApprovalState[]): void {
  if (approvals.length === 0) say('Nothing waits for an approval.');
  for (const approval of approvals) {
    const request = approval.request;
    if (!request) continue;
    const left = request.expiresAtMs - Date.now();
    say(`${colors.bold(request.approvalId)}  ${approval.state}${approval.state === 'pending' ? `, expires in ${duration(Math.max(0, left))}` : ''}`);
    say(`  ${request.summary}`);
    for (const detail of request.details) say(`  - ${detail}`);
    say(
      `  asked by ${request.requestedBy}; needs ${request.quorum} approval${request.quorum === 1 ? '' : 's'} by others; hash ${request.actionHash.slice(0, 12)}`,
    );
    for (const vote of approval.votes) say(`  ${vote.voter}: ${vote.decision}${vote.reason ? ` (${vote.reason})` : ''}`);
  }
}

function told({ state, votes, request }: ApprovalState): string {
  const last = votes.at(-1);
  if (state === 'rejected') return `rejected by ${last?.voter ?? 'somebody'}: nothing was done`;
  return `${state} (${votes.length} of ${request?.quorum ?? 1} votes)${state === 'approved' ? ': it runs now' : ''}`;
}

/** Fields with a value, as key=value; a list or an object as JSON. */
function detail(fields: AuditRow['detail']): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== '' && !(Array.isArray(value) && value.length === 0))
    .map(([key, value]) => `${key}=${plain(key, value)}`)
    .join(' ');
}

function plain(key: string, value: unknown): string {
  if (key === 'actionHash') return String(value).slice(0, 12);
  if (key === 'votes') return (value as ApprovalState['votes']).map((vote) => `${vote.voter}:${vote.decision}`).join(',');
  return typeof value === 'string' && /[\s"]/.test(value) ? JSON.stringify(value) : typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a whole number, 1 or more');
  return value;
}

/** The hash that the voter has seen; fetched when not given, so that a plain `approve <id>` binds to what is pending now. */
async function hashOf(context: Context, approvalId: string, given: string): Promise<string> {
  const approvals = await context.client.get<ApprovalState[]>('/approvals?all=true');
  const request = approvals.find((approval) => approval.request?.approvalId === approvalId)?.request;
  if (!request) throw new CommandFailure(`no approval ${approvalId}: list them with "switchyard approvals"`, 4, 'unknown_approval');
  if (!given) return request.actionHash;
  return request.actionHash.startsWith(given) ? request.actionHash : given.padEnd(64, '0');
}

export function addApprovalCommands(program: Command, contextOf: ContextOf): void {
  program
    .command('approvals')
    .description('decisions that wait for people')
    .option('--all', 'decided and expired ones as well')
    .action(async (options: { all?: boolean }) => {
      const context = contextOf();
      present(context, await context.client.get<ApprovalState[]>(`/approvals?all=${options.all === true}`), showApprovals);
    });

  for (const decision of ['approve', 'reject'] as const) {
    program
      .command(decision)
      .argument('<approval>', 'its id: see "switchyard approvals"')
      .description(decision === 'approve' ? 'agree to exactly what the approval shows; not for whoever asked' : 'refuse it')
      .option('--hash <hash>', 'the hash (or its beginning) that you saw; refused when it is another by now')
      .option('--reason <text>', 'why, for the audit log')
      .addHelpText(
        'after',
        examples(
          `--as ann ${decision} approval-scale-chat-q45fc9hv5wjl`,
          `--as ann ${decision} approval-scale-chat-q45fc9hv5wjl --hash c885c65ae619 --reason "agreed with bob"`,
        ),
      )
      .action(async (approvalId: string, options: { hash?: string; reason?: string }) => {
        const context = contextOf();
        const hash = await hashOf(context, approvalId, options.hash ?? '');
        const approval = await context.client.post<ApprovalState>(path('approvals', approvalId, 'vote'), { decision, hash, reason: options.reason });
        present(context, approval, (state) => say(`${approvalId}: ${told(state)}`));
      });
  }

  program
    .command('audit')
    .description('who did what, refused attempts included')
    .option('--limit <n>', 'newest entries', count, 50)
    .action(async (options: { limit: number }) => {
      const context = contextOf();
      present(context, await context.client.get<AuditRow[]>(`/audit?limit=${options.limit}`), (events) =>
        printTable(
          events,
          [
            { title: 'AT', value: (event) => new Date(event.atMs).toISOString() },
            { title: 'WHO', value: (event) => event.actor },
            { title: 'WHAT', value: (event) => event.kind },
            { title: 'ON', value: (event) => event.target },
            { title: 'DETAIL', value: (event) => detail(event.detail) },
          ],
          'Nothing recorded yet.',
        ),
      );
    });
}
