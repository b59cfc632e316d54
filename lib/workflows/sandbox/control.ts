// Runs a workflow body in Temporal's sandbox: gives it the control and activities it expects. Runs inside the sandbox,
// where Date.now is the workflow's own time, the same on every replay.
import {
  CancellationScope,
  condition,
  defineQuery,
  defineUpdate,
  executeChild,
  log,
  ParentClosePolicy,
  proxyActivities,
  proxyLocalActivities,
  setCurrentDetails,
  setHandler,
  sleep,
  TemporalFailure,
  WorkflowIdReusePolicy,
  workflowInfo,
} from '@temporalio/workflow';
import { SwitchyardError } from '../../../core/errors/switchyard-error.ts';
import { type ActivityCatalogue, type ActivityName, activityPolicies } from '../../../core/workflows/activities.ts';
import type { WorkflowBody } from '../../../core/workflows/bodies.ts';
import type { WorkflowInputs, WorkflowName, WorkflowResults } from '../../../core/workflows/catalogue.ts';
import type { WorkflowControl } from '../../../core/workflows/control.ts';
import { createStory, storyQuery } from '../../../core/workflows/story.ts';
import { searchAttributes } from '../workflow-search.ts';
import { describeStep, describeWorkflow } from '../workflow-summary.ts';
import { workflowTaskTimeoutMs } from '../workflow-times.ts';
import { fromTemporal, toTemporal } from './failures.ts';

/** @throws Temporal failures only: anything else would make Temporal retry the workflow task for ever */
export async function runBody<N extends WorkflowName>(body: WorkflowBody<N>, input: WorkflowInputs[N]): Promise<WorkflowResults[N]> {
  try {
    return await body(input, activities(), control());
  } catch (thrown) {
    // What is neither ours nor Temporal's is a bug in this code: the task fails and goes on when it is mended.
    if (thrown instanceof SwitchyardError || thrown instanceof TemporalFailure) throw toTemporal(thrown);
    throw thrown;
  }
}

type AnyActivity = (input: unknown) => Promise<unknown>;

function activities(): ActivityCatalogue {
  const act: Partial<Record<ActivityName, AnyActivity>> = {};
  for (const name of Object.keys(activityPolicies) as ActivityName[])
    act[name] = (input) => translated(() => proxyOf(name, describeStep(name, input as never))(input));
  return act as unknown as ActivityCatalogue;
}

function proxyOf(name: ActivityName, summary: string | undefined): AnyActivity {
  const policy = activityPolicies[name];
  const options = {
    startToCloseTimeout: policy.timeoutMs,
    ...(summary === undefined ? {} : { summary }),
    // So that nothing is still being copied when cleaning up begins.
    cancellationType: 'WAIT_CANCELLATION_COMPLETED' as const,
    retry: {
      initialInterval: policy.backoffMs,
      maximumInterval: policy.maxBackoffMs,
      backoffCoefficient: 2,
      ...(policy.attempts > 0 ? { maximumAttempts: policy.attempts } : {}),
    },
  };
  const proxies =
    policy.where === 'local'
      ? proxyLocalActivities<Record<string, AnyActivity>>(options)
      : proxyActivities<Record<string, AnyActivity>>({ ...options, ...(policy.heartbeatMs ? { heartbeatTimeout: policy.heartbeatMs } : {}) });
  return proxies[name] as AnyActivity;
}

function control(): WorkflowControl {
  const story = createStory(() => Date.now());
  setHandler(defineQuery(storyQuery), () => story.text());
  return {
    workflowId: workflowInfo().workflowId,
    now: () => Date.now(),
    sleep: (delayMs) => translated(() => sleep(Math.max(1, delayMs))),
    condition: (holds, timeoutMs) => translated(() => condition(holds, Math.max(1, timeoutMs))),
    shielded: (run) => CancellationScope.nonCancellable(run),
    handleUpdate<A, R>(name: string, handle: (argument: A) => R, validate?: (argument: A) => void) {
      const outward = <T>(run: () => T): T => {
        try {
          return run();
        } catch (thrown) {
          throw toTemporal(thrown);
        }
      };
      setHandler(defineUpdate<R, [A]>(name), (argument: A) => outward(() => handle(argument)), {
        validator: (argument: A) => outward(() => validate?.(argument)),
      });
    },
    handleQuery: (name, handle) => setHandler(defineQuery(name), handle),
    child<N extends WorkflowName>(name: N, id: string, input: WorkflowInputs[N]) {
      const { summary, details, facts } = describeWorkflow(name, input);
      return translated(
        () =>
          executeChild(name, {
            workflowId: id,
            args: [input],
            staticSummary: summary,
            staticDetails: details,
            memo: { ...facts, summary },
            // Where the server knows them: the parent has them then.
            ...(workflowInfo().typedSearchAttributes.getAll().length > 0 && { typedSearchAttributes: searchAttributes(facts) }),
            workflowTaskTimeout: workflowTaskTimeoutMs,
            parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
            cancellationType: 'WAIT_CANCELLATION_COMPLETED',
            workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
          }) as Promise<WorkflowResults[N]>,
      );
    },
    tell(line) {
      story.tell(line);
      setCurrentDetails(story.text());
    },
    log: (message, fields) => log.info(message, fields),
  };
}

async function translated<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (thrown) {
    throw fromTemporal(thrown);
  }
}
