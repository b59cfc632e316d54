// Every attribute that a span may carry. The twin refuses other names, so that traces keep one vocabulary.
// Content of prompts and answers is never an attribute.

export const attributeNames = [
  // OpenTelemetry GenAI semantic conventions.
  'gen_ai.operation.name',
  'gen_ai.provider.name',
  'gen_ai.request.model',
  'gen_ai.request.max_tokens',
  'gen_ai.request.temperature',
  'gen_ai.request.stream',
  'gen_ai.response.id',
  'gen_ai.response.model',
  'gen_ai.response.finish_reasons',
  'gen_ai.response.time_to_first_chunk',
  'gen_ai.usage.input_tokens',
  'gen_ai.usage.output_tokens',
  'gen_ai.usage.cache_read.input_tokens',
  'gen_ai.conversation.id',
  'error.type',
  'http.request.method',
  'http.response.status_code',
  'url.path',
  'messaging.system',
  'messaging.destination.name',
  'messaging.operation.type',
  'messaging.message.id',
  // Who and what.
  'switchyard.request.id',
  'switchyard.client_request.id',
  'switchyard.pool',
  'switchyard.model',
  'switchyard.instance.id',
  'switchyard.gateway.id',
  'switchyard.epoch',
  'switchyard.attempt',
  'switchyard.state',
  'switchyard.outcome',
  'switchyard.code',
  'switchyard.reason',
  'switchyard.slo_class',
  'switchyard.priority',
  'switchyard.tokens',
  'switchyard.next_index',
  'switchyard.prompt_tokens',
  'switchyard.generated_tokens',
  'switchyard.overhead_ms',
  'switchyard.ttft_ms',
  'switchyard.tpot_ms',
  'switchyard.e2e_ms',
  // Admission.
  'switchyard.queue.position',
  'switchyard.queue.depth',
  'switchyard.queue.wait_ms',
  'switchyard.batch.size',
  // Routing.
  'switchyard.decision.id',
  'switchyard.candidates',
  'switchyard.kept',
  'switchyard.dropped',
  'switchyard.top',
  'switchyard.score',
  'switchyard.view.version',
  'switchyard.view.age_ms',
  'switchyard.prefix_hit',
  // Migration and KV transfer.
  'switchyard.migration.id',
  'switchyard.migration.mode',
  'switchyard.source',
  'switchyard.target',
  'switchyard.from_epoch',
  'switchyard.to_epoch',
  'switchyard.stage',
  'switchyard.stages',
  'switchyard.blocks',
  'switchyard.blocks_remaining',
  'switchyard.bytes',
  'switchyard.connections',
  'switchyard.downtime_ms',
  'switchyard.reservation.id',
  'switchyard.transfer.id',
  // Workflows, scaling, approvals.
  'switchyard.workflow.id',
  'switchyard.workflow.name',
  'switchyard.activity.name',
  'switchyard.plan.id',
  'switchyard.drain.id',
  'switchyard.approval.id',
  'switchyard.actor',
  'switchyard.instances.current',
  'switchyard.instances.desired',
  'switchyard.mode',
  'switchyard.cached_tokens',
] as const;

export type AttributeName = (typeof attributeNames)[number];

const declared: ReadonlySet<string> = new Set(attributeNames);

/** @throws Error for a name that is not declared */
export function checkAttributes(attributes: Readonly<Record<string, unknown>> | undefined): void {
  for (const name in attributes) {
    if (!declared.has(name)) throw new Error(`span attribute ${name} is not declared in lib/telemetry/attributes.ts`);
  }
}

/** Says of any span of ours which request it is about. */
export const requestIdName = 'switchyard.request.id';
