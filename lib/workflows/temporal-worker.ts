// One Temporal worker: our activities wrapped as Temporal runs them, with a span per attempt. Loaded only where
// workflows are hosted.
import { activityInfo, Context } from '@temporalio/activity';
import { type ActivityInboundCallsInterceptor, NativeConnection, Worker } from '@temporalio/worker';
import type { ActivityImplementations, ActivityName } from '../../core/workflows/activities.ts';
import type { ActivityContext } from '../../core/workflows/control.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { toTemporal } from './sandbox/failures.ts';
import { traceOf } from './sandbox/trace-header.ts';
import { securityOf, type TemporalAddress } from './temporal-connection.ts';
import { installRuntime } from './temporal-runtime.ts';

export interface TemporalWorkerOptions extends TemporalAddress {
  readonly taskQueue: string;
  readonly telemetry: Telemetry;
  readonly activities: ActivityImplementations;
  readonly codePath: string;
  readonly maxActivities: number;
}

/** Running activities may end for this long after a shutdown began, then they are aborted. */
const graceMs = 3_000;
const forceMs = 8_000;

/** @returns the worker, not yet running, and how to close its connection afterwards */
export async function createTemporalWorker(options: TemporalWorkerOptions): Promise<{ worker: Worker; close: () => Promise<void> }> {
  installRuntime(options.telemetry);
  const connection = await NativeConnection.connect({ address: options.address, ...securityOf(options) });
  const close = () => connection.close();
  try {
    const worker = await Worker.create({
      connection,
      namespace: options.namespace,
      taskQueue: options.taskQueue,
      workflowBundle: { codePath: options.codePath },
      activities: wrap(options.activities),
      interceptors: { activity: [() => ({ inbound: traced(options.telemetry) })] },
      maxConcurrentActivityTaskExecutions: options.maxActivities,
      maxConcurrentLocalActivityExecutions: options.maxActivities,
      // Heartbeats leave at this pace however often they are called: a killed worker is noticed soon.
      maxHeartbeatThrottleInterval: 1_000,
      defaultHeartbeatThrottleInterval: 1_000,
      // A workflow whose worker has died goes to another one after this; the default is ten seconds.
      stickyQueueScheduleToStartTimeout: 2_000,
      shutdownGraceTime: graceMs,
      shutdownForceTime: forceMs,
    });
    return { worker, close };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

type Wrapped = Record<string, (input: unknown) => Promise<unknown>>;

function wrap(activities: ActivityImplementations): Wrapped {
  const wrapped: Wrapped = {};
  for (const name of Object.keys(activities) as ActivityName[]) {
    const run = activities[name] as (context: ActivityContext, input: unknown) => Promise<unknown>;
    wrapped[name] = async (input) => {
      try {
        return await run(currentContext(), input);
      } catch (thrown) {
        throw toTemporal(thrown);
      }
    };
  }
  return wrapped;
}

function currentContext(): ActivityContext {
  const current = Context.current();
  return {
    workflowId: current.info.workflowExecution?.workflowId ?? '',
    attempt: current.info.attempt,
    lastHeartbeat: current.info.heartbeatDetails,
    heartbeat: (progress) => current.heartbeat(progress),
    signal: current.cancellationSignal,
  };
}

/** A span per attempt, in the trace that the workflow was started in. */
function traced(telemetry: Telemetry): ActivityInboundCallsInterceptor {
  return {
    execute(input, next) {
      const { activityType, workflowExecution, attempt } = activityInfo();
      const traceparent = traceOf(input.headers);
      const attributes = { 'switchyard.workflow.id': workflowExecution?.workflowId ?? '', 'switchyard.attempt': attempt };
      return telemetry.within(traceparent === undefined ? undefined : { traceparent }, () =>
        telemetry.span(`workflow.${activityType}`, { attributes }, () => next(input)),
      );
    },
  };
}
