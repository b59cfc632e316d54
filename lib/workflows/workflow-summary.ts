// One line about a workflow for people who look at Temporal's UI.
import type { WorkflowInputs, WorkflowName } from '../../core/workflows/catalogue.ts';

const sentences: { readonly [N in WorkflowName]: (input: WorkflowInputs[N]) => string } = {
  migrateRequest: (plan) => `Move ${plan.requestId} from ${plan.sourceInstanceId} to ${plan.targetInstanceId} (${plan.reason}, ${plan.mode})`,
  transferKv: (plan) => `Copy KV of ${plan.requestId} from ${plan.sourceInstanceId} to ${plan.targetInstanceId}`,
  drainInstance: (plan) => `Drain ${plan.instanceId} of pool ${plan.pool}, asked for by ${plan.requestedBy}`,
  scalePool: (plan) => `Scale pool ${plan.pool} from ${plan.from} to ${plan.to}, asked for by ${plan.requestedBy}`,
  approval: (request) => request.summary,
};

export function workflowSummary<N extends WorkflowName>(name: N, input: WorkflowInputs[N]): string {
  return sentences[name](input);
}
