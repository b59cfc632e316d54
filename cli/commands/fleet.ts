// status, instances, drain, undrain, scale, mode: the fleet.
import { Argument, type Command, InvalidArgumentError } from 'commander';
import colors from 'picocolors';
import { type InstanceRow, type QueueRow, type StartedAnswer, type StatusReport, stoppedOnPurpose } from '../../lib/operator/types.ts';
import { instanceNotes } from '../instance-notes.ts';
import { duration, health, printTable, say } from '../output.ts';
import { type ContextOf, examples, present } from './context.ts';
import { waitForWorkflow } from './wait.ts';

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('a whole number, 0 or more');
  return value;
}

function seconds(text: string): number {
  const value = Number(text);
  if (!(value >= 0)) throw new InvalidArgumentError('seconds, 0 or more');
  return value * 1000;
}

function showStatus(report: StatusReport): void {
  printTable(
    report.services,
    [
      { title: 'SERVICE', value: (row) => row.id },
      { title: 'READY', value: (row) => (row.ready ? colors.green('yes') : colors.red(`no: ${row.notReadyBecause}`)) },
      { title: 'PID', value: (row) => String(row.pid), align: 'right' },
      { title: 'OWNS', value: (row) => row.owns.join(' ') },
    ],
    'No service answered.',
  );
  say('');
  printTable(
    report.pools,
    [
      { title: 'POOL', value: (pool) => pool.pool },
      { title: 'MODEL', value: (pool) => pool.model },
      { title: 'NOW', value: (pool) => String(pool.current), align: 'right' },
      { title: 'PENDING', value: (pool) => String(pool.pending), align: 'right' },
      { title: 'WANTED', value: (pool) => String(pool.desired), align: 'right' },
      { title: 'WAITING', value: (pool) => waiting(report.queues.find((queue) => queue.pool === pool.pool)), align: 'right' },
      { title: 'SCALING', value: (pool) => `${pool.mode} (${pool.policy})` },
    ],
    'No pool answered.',
  );
  const { instances, requests, migrations } = report;
  say(
    `\n${instances.healthy} of ${instances.total} instances healthy, ${instances.cordoned} cordoned; requests: ${requests.running} running, ${requests.queued} queued`,
  );
  say(`migrations: ${migrations.active} active, ${migrations.committed} committed, ${migrations.aborted} aborted, ${migrations.heldBack} held back`);
  if (!report.workflowsConnected) say(colors.yellow('Temporal is away: no new migrations, drains or approvals; serving goes on'));
  if (!report.storeConnected) say(colors.yellow('Redis is away: ownership does not change; serving goes on'));
}

/** Requests that wait, and how full the pool is: "3 of 1000, 120 % full". */
function waiting(queue: QueueRow | undefined): string {
  if (!queue) return '-';
  return `${queue.waiting} of ${queue.limit}, ${Math.round(queue.saturation * 100)} % full`;
}

function healthOf(row: InstanceRow): string {
  if (stoppedOnPurpose(row)) return 'stopped (scale_in)';
  const more = [
    row.stale && 'stale',
    row.cordoned && `cordoned (${row.cordonReason})`,
    row.setAside && `set aside (${row.setAside})`,
    isIdle(row) && 'accepts nothing',
  ];
  return [health(row.health), ...more.filter(Boolean)].join(', ');
}

/** It loads its model, or is stopping. */
function isIdle({ health, accepting, setAside, cordoned }: InstanceRow): boolean {
  return health === 'healthy' && !accepting && setAside === '' && !cordoned;
}

function showInstances(rows: readonly InstanceRow[]): void {
  printTable(
    rows,
    [
      { title: 'INSTANCE', value: (row) => row.id },
      { title: 'POOL', value: (row) => row.pool },
      { title: 'MODEL', value: (row) => row.model },
      ...(rows.some(({ role }) => role !== 'mixed') ? [{ title: 'ROLE', value: (row: InstanceRow) => row.role }] : []),
      {
        title: 'HEALTH',
        value: healthOf,
      },
      { title: 'RUNNING', value: (row) => String(row.running), align: 'right' },
      { title: 'QUEUED', value: (row) => String(row.queued), align: 'right' },
      { title: 'KV', value: (row) => `${Math.round(row.kvUsage * 100)} %`, align: 'right' },
      { title: 'STEP', value: (row) => `${row.stepMs.toFixed(1)} ms`, align: 'right' },
      { title: 'REPORT', value: (row) => `${duration(row.reportAgeMs)} ago`, align: 'right' },
      { title: 'PID', value: (row) => (row.pid > 0 ? String(row.pid) : '-'), align: 'right' },
    ],
    'No instances. Is an agent running?',
  );
  const notes = instanceNotes(rows);
  if (notes.length > 0) say(`\n${notes.join('\n')}`);
}

function showStarted(what: string, answer: StartedAnswer): void {
  if (answer.approvalId) say(`${what} waits for a person: switchyard --as <someone else> approve ${answer.approvalId}`);
  else say(`${what} has begun: workflow ${answer.workflowId}`);
}

export function addFleetCommands(program: Command, contextOf: ContextOf): void {
  program
    .command('status')
    .description('services, pools, requests and migrations at a glance')
    .action(async () => {
      const context = contextOf();
      present(context, await context.client.get<StatusReport>('/status'), showStatus);
    });

  program
    .command('instances')
    .description('every instance with its health, load and process')
    .action(async () => {
      const context = contextOf();
      present(context, await context.client.get<InstanceRow[]>('/instances'), showInstances);
    });

  program
    .command('drain')
    .argument('<instance>', 'its id: see "switchyard instances"')
    .description('accept nothing new on an instance and move its requests away')
    .option('--within <seconds>', "report what is left after this long; the coordinator's limit when not given", seconds)
    .option('--note <text>', 'why, for the audit log')
    .option('--wait', 'wait for the end and say how it went')
    .addHelpText('after', examples('drain chat-1 --wait', 'drain chat-1 --within 60 --note "new driver"'))
    .action(async (instance: string, options: { within?: number; note?: string; wait?: boolean }) => {
      const context = contextOf();
      const answer = await context.client.post<StartedAnswer>('/drain', { instance, withinMs: options.within, note: options.note });
      if (options.wait) await waitForWorkflow(context, answer, `drain of ${instance}`);
      else present(context, answer, (started) => showStarted(`drain of ${instance}`, started));
    });

  program
    .command('undrain')
    .argument('<instance>', 'its id')
    .description('let requests onto an instance again')
    .action(async (instance: string) => {
      const context = contextOf();
      present(context, await context.client.post('/undrain', { instance }), () => say(`${instance} accepts requests again`));
    });

  program
    .command('scale')
    .argument('<pool>', 'its name in fleet.yaml')
    .argument('<n>', 'instances wanted', wholeNumber)
    .description("set a pool's size; below its floor this waits for an approval")
    .option('--note <text>', 'why, for approvers and the audit log')
    .option('--wait', 'wait for the end and say how it went')
    .addHelpText('after', examples('scale chat 4 --wait', 'scale chat 1 --note "quiet weekend"   # below the floor of 2: waits for an approval'))
    .action(async (pool: string, target: number, options: { note?: string; wait?: boolean }) => {
      const context = contextOf();
      const answer = await context.client.post<StartedAnswer & { from: number; to: number }>('/scale', { pool, target, note: options.note });
      const what = `scaling ${pool} from ${answer.from} to ${answer.to}`;
      if (options.wait) await waitForWorkflow(context, answer, what);
      else present(context, answer, (started) => showStarted(what, started));
    });

  program
    .command('mode')
    .argument('<pool>', 'its name in fleet.yaml')
    .addArgument(new Argument('<mode>', 'advisory says what it would do, active does it').choices(['off', 'advisory', 'active']))
    .description("what a pool's scaler may do by itself")
    .action(async (pool: string, mode: string) => {
      const context = contextOf();
      present(context, await context.client.post('/mode', { pool, mode }), () => say(`scaling of ${pool} is ${mode}`));
    });
}
