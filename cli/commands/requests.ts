// requests, explain, migrate, migrations: single requests.
import type { Command } from 'commander';
import colors from 'picocolors';
import { isSpeaking, type Phase } from '../../core/request/request-state.ts';
import type { Explanation, MigrationsReport, MoveAnswer, RequestRow } from '../../lib/operator/types.ts';
import type { DecisionCandidate, DecisionRecord } from '../../proto/gen/messages.ts';
import { CommandFailure } from '../client.ts';
import { duration, printTable, say } from '../output.ts';
import { aboutRequest, type ContextOf, examples, path, present, requestId } from './context.ts';
import { waitForWorkflow } from './wait.ts';

function showRequests(rows: readonly RequestRow[]): void {
  printTable(
    rows,
    [
      { title: 'REQUEST', value: (row) => row.id },
      { title: 'STATE', value: (row) => (row.code ? `${row.state} (${row.code})` : row.state) },
      { title: 'INSTANCE', value: (row) => row.instance || '-' },
      { title: 'EPOCH', value: (row) => String(row.epoch), align: 'right' },
      { title: 'TOKENS', value: (row) => String(row.tokens), align: 'right' },
      { title: 'MOVES', value: (row) => String(row.migrations), align: 'right' },
      { title: 'FAILOVERS', value: (row) => String(row.failovers), align: 'right' },
      { title: 'CLASS', value: (row) => row.sloClass },
      { title: 'AGE', value: (row) => duration(row.ageMs), align: 'right' },
    ],
    'No requests.',
  );
}

function scored(candidate: DecisionCandidate): string {
  return candidate.terms.map((term) => `${term.scorer} ${term.value.toFixed(2)} x ${term.weight}`).join(', ');
}

function showDecision(record: DecisionRecord): void {
  say(
    `\n${new Date(record.atMs).toISOString()} by ${record.routerId}, profile ${record.profile}, view ${record.viewEpoch}.${record.viewVersion} (${duration(record.viewAgeMs)} old)`,
  );
  say(record.instanceId ? `  -> ${colors.bold(record.instanceId)} (${record.reason})${goesOn(record)}` : `  -> refused (${record.reason})`);
  printTable(
    [...record.candidates].sort((a, b) => b.total - a.total),
    [
      { title: '  CANDIDATE', value: (row) => `  ${row.instanceId}` },
      { title: 'SCORE', value: (row) => (row.droppedBy ? '-' : row.total.toFixed(3)), align: 'right' },
      { title: 'BECAUSE', value: (row) => (row.droppedBy ? `dropped by ${row.droppedBy}: ${row.droppedReason}` : scored(row)) },
    ],
    '  no candidates',
  );
  if (record.candidatesLeftOut > 0) say(`  and ${record.candidatesLeftOut} more that were not better${droppedOf(record)}`);
}

/** What the roles of a pool's instances made of it. */
function goesOn({ rolesReason, handOffInstanceId }: DecisionRecord): string {
  switch (rolesReason) {
    case 'pair':
      return ` computes the prompt, ${colors.bold(handOffInstanceId)} goes on after the first token`;
    case 'short':
      return ': too little is to be computed to have a prefill instance do it';
    case 'no_prefill':
      return ': computes the prompt itself, for no prefill instance can take it and hand it over';
    case 'no_decode':
      return ': keeps it, for no decode instance can take it';
    default:
      return '';
  }
}

/** What the filters dropped in all, where the record does not show everybody. */
function droppedOf({ pool }: DecisionRecord): string {
  const dropped = pool?.dropped ?? [];
  return dropped.length === 0 ? '' : `; dropped in all: ${dropped.map(({ filter, candidates }) => `${candidates} by ${filter}`).join(', ')}`;
}

function showExplanation(explanation: Explanation): void {
  const { request, decisions } = explanation;
  if (request) say(`${request.id}: ${request.state} on ${request.instance || 'no instance yet'}, epoch ${request.epoch}, ${request.tokens} tokens`);
  if (decisions.length === 0) say('No decision yet.');
  for (const record of decisions) showDecision(record);
}

function showMigrations(report: MigrationsReport): void {
  for (const plan of report.active) say(`${plan.requestId}: ${plan.sourceInstanceId} -> ${plan.targetInstanceId}, ${plan.reason}, under way`);
  printTable(
    report.recent,
    [
      { title: 'REQUEST', value: (row) => row.requestId },
      { title: 'FROM', value: (row) => row.sourceInstanceId },
      { title: 'TO', value: (row) => row.targetInstanceId },
      { title: 'REASON', value: (row) => row.reason },
      { title: 'OUTCOME', value: (row) => (row.code ? `${row.outcome} (${row.code})` : row.outcome) },
      { title: 'STAGES', value: (row) => String(row.stages), align: 'right' },
      { title: 'KB', value: (row) => (row.bytes / 1024).toFixed(0), align: 'right' },
      { title: 'DOWNTIME', value: (row) => `${row.downtimeMs.toFixed(0)} ms`, align: 'right' },
      { title: 'TOTAL', value: (row) => `${row.totalMs.toFixed(0)} ms`, align: 'right' },
    ],
    'No migration has ended yet.',
  );
  say(`${report.committed} committed, ${report.aborted} aborted, ${report.heldBack} held back`);
}

/** @throws CommandFailure when none runs, or several do */
export function onlyRunning(rows: readonly RequestRow[]): string {
  const [only, ...others] = rows.filter(({ state }) => isSpeaking(state as Phase));
  if (only === undefined) throw new CommandFailure('no request is running now', 4, 'unknown_request');
  if (others.length > 0)
    throw new CommandFailure(`${others.length + 1} requests are running: name one of them (switchyard requests)`, 2, 'invalid_request');
  return only.id;
}

export function addRequestCommands(program: Command, contextOf: ContextOf): void {
  program
    .command('requests')
    .description('live requests: state, instance, epoch, tokens')
    .option('--all', 'recent ended ones as well')
    .action(async (options: { all?: boolean }) => {
      const context = contextOf();
      present(context, await context.client.get<RequestRow[]>(`/requests?all=${options.all === true}`), showRequests);
    });

  program
    .command('explain')
    .argument('<request>', aboutRequest)
    .description('why a request went where it went: candidates, scores, reasons')
    .action(async (request: string) => {
      const context = contextOf();
      present(context, await context.client.get<Explanation>(path('explain', requestId(request))), showExplanation);
    });

  program
    .command('migrate')
    .alias('move')
    .argument('[request]', `${aboutRequest}; without it, the only one that runs`)
    .description('move a running request to another instance while it generates')
    .option('--to <instance>', 'where to; without it the coordinator chooses')
    .option('--wait', 'wait for the end and say how it went')
    .addHelpText('after', examples('move --wait', 'move req-88gsul5697wktmo77gmr --wait', 'move req-88gsul5697wktmo77gmr --to chat-2'))
    .action(async (given: string | undefined, options: { to?: string; wait?: boolean }) => {
      const context = contextOf();
      const request = given === undefined ? onlyRunning(await context.client.get<RequestRow[]>('/requests?all=false')) : requestId(given);
      const answer = await context.client.post<MoveAnswer>('/migrate', { request, to: options.to });
      const what = `${answer.plan.requestId}: ${answer.plan.sourceInstanceId} -> ${answer.plan.targetInstanceId}`;
      if (options.wait) await waitForWorkflow(context, { workflowId: answer.workflowId, approvalId: '' }, what);
      else
        present(context, answer, () => {
          say(`${what} has begun: workflow ${answer.workflowId}`);
          for (const reason of answer.plan.reasons) say(`  ${reason}`);
        });
    });

  program
    .command('migrations')
    .description('migrations under way and the recent ones with their downtime')
    .action(async () => {
      const context = contextOf();
      present(context, await context.client.get<MigrationsReport>('/migrations'), showMigrations);
    });
}
