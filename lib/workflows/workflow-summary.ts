// What people who look at Temporal's UI read about a workflow before it has done anything: one line, the reasons behind
// it, and the names to tell it by. What it does is told by its story (core/workflows/story.ts).
import type { ActivityCatalogue, ActivityName } from '../../core/workflows/activities.ts';
import type { WorkflowInputs, WorkflowName } from '../../core/workflows/catalogue.ts';

/** Temporal refuses workflows whose texts are longer. */
const maxSummaryBytes = 400;
const maxDetailsBytes = 20_000;

export interface WorkflowDescription {
  /** One line. */
  readonly summary: string;
  /** Markdown; empty when there is nothing to add. */
  readonly details: string;
  /** Kept with the workflow as its memo. */
  readonly facts: WorkflowFacts;
}

export type WorkflowFacts = Readonly<Record<string, string | number>>;

const describers: { readonly [N in WorkflowName]: (input: WorkflowInputs[N]) => WorkflowDescription } = {
  migrateRequest: ({ requestId, pool, sourceInstanceId: source, targetInstanceId: target, reason, mode, reasons, requestedBy, ...plan }) => ({
    summary: `Move ${requestId} from ${source} to ${target} (${reason}, ${mode})`,
    details: list(reasons),
    facts: { request: requestId, pool, source, target, reason, mode, requestedBy, gateway: plan.gatewayId, epoch: plan.toEpoch },
  }),
  transferKv: ({ requestId, sourceInstanceId: source, targetInstanceId: target, blocks }) => ({
    summary: `Copy KV of ${requestId} from ${source} to ${target}`,
    details: '',
    facts: { request: requestId, source, target, blocks },
  }),
  drainInstance: ({ instanceId, pool, requestedBy, reason, withinMs }) => ({
    summary: `Drain ${instanceId} of pool ${pool}, asked for by ${requestedBy}`,
    details: '',
    facts: { instance: instanceId, pool, reason, requestedBy, withinMs },
  }),
  scalePool: ({ pool, from, to, requestedBy, reasons, startInstanceIds, stopInstanceIds }) => ({
    summary: `Scale pool ${pool} from ${from} to ${to}, asked for by ${requestedBy}`,
    details: list([...startInstanceIds.map((id) => `start ${id}`), ...stopInstanceIds.map((id) => `empty and stop ${id}`), ...reasons]),
    facts: { pool, from, to, instances: [...startInstanceIds, ...stopInstanceIds].join(' '), requestedBy },
  }),
  approval: ({ summary, details, pool, action, requestedBy, actionHash, quorum, parentWorkflowId }) => ({
    summary,
    details: list(details),
    facts: { pool, action, requestedBy, actionHash, quorum, for: parentWorkflowId },
  }),
};

export function describeWorkflow<N extends WorkflowName>(name: N, input: WorkflowInputs[N]): WorkflowDescription {
  const { summary, details, facts } = describers[name](input);
  return { summary: clipped(summary, maxSummaryBytes), details: clipped(details, maxDetailsBytes), facts };
}

const copiesAhead = ({ plan }: Parameters<ActivityCatalogue['preCopy']>[0]) =>
  `${plan.sourceInstanceId} copies to ${plan.targetInstanceId} while it decodes on`;

const steps: { readonly [N in ActivityName]?: (input: Parameters<ActivityCatalogue[N]>[0]) => string } = {
  reserveBlocks: (plan) => `hold ${plan.reserveBlocks} blocks on ${plan.targetInstanceId}`,
  preCopy: copiesAhead,
  preCopyShort: copiesAhead,
  cutOver: ({ plan }) => `pause on ${plan.sourceInstanceId}, copy the rest, hand over at ${plan.gatewayId}`,
  askOutcome: (plan) => `ask ${plan.gatewayId} what became of the hand-over`,
  releaseSource: ({ plan, committed }) => `${plan.sourceInstanceId} ${committed ? 'frees it' : 'goes on with it'}`,
  dropBlocks: ({ instanceId }) => `${instanceId} frees what it held`,
  setCordon: ({ instanceId, reason }) => (reason === 'none' ? `${instanceId} takes requests again` : `nothing new goes to ${instanceId} (${reason})`),
  moveAway: ({ instanceId }) => `move away what is on ${instanceId}`,
  confirmEmpty: ({ instanceId }) => `is ${instanceId} empty?`,
  startInstance: ({ instanceId }) => `start ${instanceId}`,
  awaitHealthy: ({ instanceIds }) => `until ${instanceIds.join(', ')} are healthy`,
  stopInstance: ({ instanceId }) => `stop ${instanceId}`,
  recordApproval: ({ approval, events }) => `write down: ${events.map(({ kind }) => kind.replace('approval.', '')).join(', ') || approval.state}`,
};

/** One line about a step, beside its name in the history. Undefined where the name says it all. */
export function describeStep<N extends ActivityName>(name: N, input: Parameters<ActivityCatalogue[N]>[0]): string | undefined {
  const step = steps[name]?.(input);
  return step === undefined ? undefined : clipped(step, maxSummaryBytes);
}

/** A character has three bytes at most. */
function clipped(text: string, maxBytes: number): string {
  if (new TextEncoder().encode(text).length <= maxBytes) return text;
  return `${text.slice(0, Math.floor(maxBytes / 3) - 1).toWellFormed()}…`;
}

function list(lines: readonly string[]): string {
  return lines.map((line) => `- ${line}`).join('\n');
}
