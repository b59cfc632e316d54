// Carries `traceparent` through workflows: from the header a workflow was started with to its activities and children.
// Runs inside the sandbox; Temporal makes one set per workflow.
import type { Headers, Next, WorkflowInboundCallsInterceptor, WorkflowInterceptors, WorkflowOutboundCallsInterceptor } from '@temporalio/workflow';
import { traceHeader } from './trace-header.ts';

export function interceptors(): WorkflowInterceptors {
  let carried: Headers = {};

  const inbound: WorkflowInboundCallsInterceptor = {
    execute(input, next) {
      const value = input.headers[traceHeader];
      if (value) carried = { [traceHeader]: value };
      return next(input);
    },
  };

  const withTrace = <I extends { readonly headers: Headers }>(input: I): I => ({ ...input, headers: { ...carried, ...input.headers } });
  const outbound: WorkflowOutboundCallsInterceptor = {
    scheduleActivity: (input, next: Next<WorkflowOutboundCallsInterceptor, 'scheduleActivity'>) => next(withTrace(input)),
    scheduleLocalActivity: (input, next: Next<WorkflowOutboundCallsInterceptor, 'scheduleLocalActivity'>) => next(withTrace(input)),
    startChildWorkflowExecution: (input, next: Next<WorkflowOutboundCallsInterceptor, 'startChildWorkflowExecution'>) => next(withTrace(input)),
  };

  return { inbound: [inbound], outbound: [outbound] };
}
