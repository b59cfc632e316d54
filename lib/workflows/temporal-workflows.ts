// Workflows in Temporal: starting, watching and changing them as a client, and hosting them as a worker.
import type { Client, WorkflowExecutionInfo } from '@temporalio/client';
import type { SearchAttributePair } from '@temporalio/common';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { WorkflowName, WorkflowResults } from '../../core/workflows/catalogue.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import type { WorkflowSummary, Workflows } from '../ports/workflows.ts';
import { lazyConnection, type TemporalAddress } from './temporal-connection.ts';
import { hostInTemporal } from './temporal-host.ts';
import { createTemporalSearch } from './temporal-search.ts';
import { isAbout, listQuery, searchAttributes } from './workflow-search.ts';
import { describeWorkflow, type WorkflowFacts } from './workflow-summary.ts';
import { workflowTaskTimeoutMs } from './workflow-times.ts';

export interface TemporalWorkflowsOptions extends TemporalAddress {
  readonly telemetry: Telemetry;
  /** Workers and starters meet here. */
  readonly taskQueue?: string;
}

/** Longest wait for an answer of the server. */
const callTimeoutMs = 5_000;
/** An update also waits for a worker to take it. */
const updateTimeoutMs = 10_000;
const pollTimeoutMs = 60_000;
/** A result is waited for over an outage of this length. */
const longestOutageMs = 60_000;
const outagePauseMs = 500;
/** Where the server cannot search by what workflows are about, so many of the newest are looked at. */
const lookThrough = 1_000;

/** Returns at once; connects when first used, and again whenever the server was away. */
export function connectTemporalWorkflows(options: TemporalWorkflowsOptions): Workflows {
  const { telemetry } = options;
  const taskQueue = options.taskQueue ?? 'switchyard';
  const connection = lazyConnection(options, telemetry);
  const search = createTemporalSearch(telemetry, () => Date.now());

  async function call<T>(what: string, timeoutMs: number, run: (client: Client) => Promise<T>): Promise<T> {
    try {
      return await connection.call(timeoutMs, run);
    } catch (thrown) {
      const { fromClient } = await import('./temporal-errors.ts');
      throw fromClient(thrown, what);
    }
  }

  return {
    start: (name, id, input) =>
      call(`start ${name} ${id}`, callTimeoutMs, async (client) => {
        const { summary, details, facts } = describeWorkflow(name, input);
        const startOnce = async (attributes: SearchAttributePair[]) => {
          try {
            await client.workflow.start(name, {
              workflowId: id,
              taskQueue,
              args: [input],
              workflowIdReusePolicy: 'REJECT_DUPLICATE',
              workflowTaskTimeout: workflowTaskTimeoutMs,
              staticSummary: summary,
              staticDetails: details,
              memo: { ...facts, summary },
              ...(attributes.length > 0 && { typedSearchAttributes: attributes }),
            });
            return true;
          } catch (thrown) {
            if (thrown instanceof Error && thrown.name === 'WorkflowExecutionAlreadyStartedError') return false;
            throw thrown;
          }
        };
        if (!(await search.available(client, options.namespace))) return startOnce([]);
        try {
          return await startOnce(searchAttributes(facts));
        } catch (thrown) {
          // Told of them a moment ago, the server may not take them yet.
          if (!isAboutSearchAttributes(thrown)) throw thrown;
          search.refused();
          return startOnce([]);
        }
      }),

    async result<N extends WorkflowName>(_name: N, id: string): Promise<WorkflowResults[N]> {
      for (let downSinceMs: number | undefined; ; ) {
        try {
          return await call(`result of ${id}`, pollTimeoutMs, (client) => client.workflow.getHandle(id).result() as Promise<WorkflowResults[N]>);
        } catch (thrown) {
          if (!(thrown instanceof SwitchyardError) || thrown.code !== 'workflows_unavailable' || connection.closed) throw thrown;
          if (connection.connected()) downSinceMs = undefined;
          downSinceMs ??= Date.now();
          if (Date.now() - downSinceMs > longestOutageMs) throw thrown;
          await new Promise((resolve) => setTimeout(resolve, outagePauseMs));
        }
      }
    },

    describe: (id) => call(`describe ${id}`, callTimeoutMs, async (client) => summaryOf(await client.workflow.getHandle(id).describe())),

    query: <T>(id: string, query: string) =>
      call(`query ${query} of ${id}`, updateTimeoutMs, (client) => client.workflow.getHandle(id).query<T>(query)),

    update: <T>(id: string, update: string, argument: unknown) =>
      call(`update ${update} of ${id}`, updateTimeoutMs, (client) =>
        client.workflow.getHandle(id).executeUpdate<T, [unknown]>(update, { args: [argument] }),
      ),

    cancel: (id) =>
      call(`cancel ${id}`, callTimeoutMs, async (client) => {
        await client.workflow.getHandle(id).cancel();
      }).catch((thrown: unknown) => {
        // One that has ended cannot be cancelled any more, and need not be.
        if (!(thrown instanceof SwitchyardError) || thrown.code !== 'workflow_not_found') throw thrown;
        return call(`cancel ${id}`, callTimeoutMs, async (client) => {
          await client.workflow.getHandle(id).describe();
        });
      }),

    list: (filter) =>
      call('list workflows', callTimeoutMs, async (client) => {
        const found: WorkflowSummary[] = [];
        if (filter.limit <= 0) return found;
        const searchable = await search.available(client, options.namespace);
        const query = listQuery(filter, searchable);
        let looked = 0;
        for await (const item of client.workflow.list({ query, pageSize: searchable ? Math.min(filter.limit, lookThrough) : lookThrough })) {
          if (searchable || isAbout((item.memo ?? {}) as WorkflowFacts, filter)) found.push(summaryOf(item));
          if (found.length >= filter.limit || ++looked >= lookThrough) break;
        }
        return found;
      }),

    host: (activities, hosting = {}) =>
      hostInTemporal({
        ...options,
        taskQueue,
        activities,
        hosting,
        serverAnswers: () => connection.connected(),
      }),
    connected: () => connection.connected(),
    close: () => connection.close(),
  };
}

/** The code of gRPC for what a server does not take. */
const invalidArgument = 3;

function isAboutSearchAttributes(thrown: unknown): boolean {
  const cause = (thrown as { cause?: { code?: unknown; message?: string } } | undefined)?.cause;
  return cause?.code === invalidArgument && /search attribute/i.test(cause.message ?? '');
}

function summaryOf(info: Pick<WorkflowExecutionInfo, 'workflowId' | 'type' | 'status' | 'startTime' | 'closeTime' | 'memo'>): WorkflowSummary {
  return {
    id: info.workflowId,
    name: info.type as WorkflowName,
    status: statusOf(info.status.name),
    startedAtMs: info.startTime.getTime(),
    closedAtMs: info.closeTime?.getTime(),
    summary: typeof info.memo?.summary === 'string' ? info.memo.summary : '',
  };
}

function statusOf(name: WorkflowExecutionInfo['status']['name']): WorkflowSummary['status'] {
  switch (name) {
    case 'COMPLETED':
      return 'completed';
    case 'FAILED':
      return 'failed';
    case 'CANCELLED':
      return 'cancelled';
    case 'TERMINATED':
      return 'terminated';
    case 'TIMED_OUT':
      return 'timed_out';
    default:
      return 'running';
  }
}
