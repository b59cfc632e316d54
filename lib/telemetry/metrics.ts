// Every metric there is: name, kind, labels, buckets. Telemetry refuses other names and labels, docs/metrics.md is checked
// against this table. No label may name a user, a key or a request; a label with more than `maxLabelValues` values gets "other".

export interface MetricEntry {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  /** Upper bounds, for histograms. */
  readonly buckets?: readonly number[];
}

/** Values that one label of one metric may take in a process; later ones are counted as "other". */
export const maxLabelValues = 100;

const seconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];
const shortSeconds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];
// The standard buckets of OpenTelemetry's GenAI semantic conventions.
const genAiDuration = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const genAiFirstToken = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
const genAiPerToken = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];
const genAiTokens = [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864];

export const metrics = {
  // Requests, as the client sees them (gateway).
  switchyard_requests_total: { type: 'counter', help: 'Requests that ended, by outcome.', labels: ['model', 'pool', 'outcome', 'code'] },
  switchyard_requests_active: { type: 'gauge', help: 'Requests that have not ended.', labels: ['pool'] },
  switchyard_request_ttft_seconds: {
    type: 'histogram',
    help: 'Arrival to first output token.',
    labels: ['model', 'pool', 'slo_class'],
    buckets: genAiFirstToken.concat([20, 40, 80]),
  },
  switchyard_request_tpot_seconds: {
    type: 'histogram',
    help: '(E2E - TTFT) / (output tokens - 1).',
    labels: ['model', 'pool', 'slo_class'],
    buckets: [0.0025, 0.005, ...genAiPerToken],
  },
  switchyard_request_e2e_seconds: {
    type: 'histogram',
    help: 'Arrival to last output token.',
    labels: ['model', 'pool', 'slo_class'],
    buckets: seconds,
  },
  switchyard_overhead_seconds: {
    type: 'histogram',
    help: 'Time that Switchyard itself added before the stream was opened.',
    labels: ['pool'],
    buckets: shortSeconds,
  },
  switchyard_prompt_tokens_total: { type: 'counter', help: 'Prompt tokens of ended requests.', labels: ['model', 'pool'] },
  switchyard_output_tokens_total: { type: 'counter', help: 'Output tokens sent to clients.', labels: ['model', 'pool'] },
  switchyard_failovers_total: {
    type: 'counter',
    help: 'Times a running request was continued elsewhere after a failure.',
    labels: ['pool', 'reason'],
  },
  switchyard_tokens_dropped_total: {
    type: 'counter',
    help: 'Token events that did not count, by reason (stale_epoch, repeated, unknown).',
    labels: ['reason'],
  },
  switchyard_clients_left_total: {
    type: 'counter',
    help: 'Clients that left before their request ended, by the state it was in.',
    labels: ['state'],
  },
  switchyard_audit_failures_total: { type: 'counter', help: 'Events that could not be recorded in time.', labels: ['kind'] },

  // Admission.
  switchyard_queue_depth: { type: 'gauge', help: 'Requests waiting in the queue of a pool.', labels: ['pool', 'slo_class'] },
  switchyard_queue_demand_blocks: {
    type: 'gauge',
    help: 'KV blocks that the requests waiting in the queue of a pool want at once.',
    labels: ['pool', 'slo_class'],
  },
  switchyard_queue_wait_seconds: { type: 'histogram', help: 'Time from admission to assignment.', labels: ['pool', 'slo_class'], buckets: seconds },
  switchyard_pool_saturation: { type: 'gauge', help: 'Requests in flight over the capacity of the pool; 1 is full.', labels: ['pool'] },
  switchyard_drops_total: { type: 'counter', help: 'Requests refused or dropped from the queue, by reason.', labels: ['pool', 'reason'] },

  // Router.
  switchyard_scheduler_e2e_duration_seconds: { type: 'histogram', help: 'One routing decision, per request.', labels: [], buckets: shortSeconds },
  switchyard_routing_decisions_total: { type: 'counter', help: 'Routing decisions, by result.', labels: ['pool', 'result'] },
  switchyard_routing_view_age_seconds: {
    type: 'histogram',
    help: 'Age of the fleet view that a decision was made from.',
    labels: [],
    buckets: seconds,
  },
  switchyard_routing_stale_views_total: {
    type: 'counter',
    help: 'Decisions made from a fleet view older than its limit.',
    labels: [],
  },
  switchyard_routing_account_bookings: { type: 'gauge', help: 'Placements of this router and its replicas that no report shows yet.', labels: [] },
  switchyard_decision_records_dropped_total: {
    type: 'counter',
    help: 'Decision records that were not written, by cause (buffer_full, store).',
    labels: ['cause'],
  },
  switchyard_prefix_index_entries: { type: 'gauge', help: 'Blocks in the prefix index of this router.', labels: [] },
  switchyard_prefix_hit_ratio: {
    type: 'histogram',
    help: 'Share of prompt blocks expected to be cached on the picked instance.',
    labels: ['pool'],
    buckets: [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1],
  },

  // Fleet.
  switchyard_instances: { type: 'gauge', help: 'Instances by health.', labels: ['pool', 'health'] },
  switchyard_stale_instances: { type: 'gauge', help: 'Instances whose last status is older than the limit.', labels: ['pool'] },
  switchyard_status_reports_total: { type: 'counter', help: 'Status reports taken, by result.', labels: ['result'] },
  switchyard_fleet_snapshots_total: {
    type: 'counter',
    help: 'Whole fleet views that this process asked for, page by page, because it had none, missed a difference, or heard nothing.',
    labels: ['cause', 'result'],
  },
  switchyard_fleet_view_version: { type: 'gauge', help: 'Version of the newest fleet view published or taken.', labels: [] },

  // Migration.
  switchyard_migrations_total: {
    type: 'counter',
    help: 'Migrations that ended, by outcome and reason.',
    labels: ['pool', 'outcome', 'reason', 'code'],
  },
  switchyard_migrations_active: { type: 'gauge', help: 'Migrations that run now.', labels: ['pool'] },
  switchyard_migrations_held_back_total: { type: 'counter', help: 'Planned migrations that were not started, by cause.', labels: ['pool', 'cause'] },
  switchyard_migration_downtime_seconds: {
    type: 'histogram',
    help: 'Time that the sequence produced nothing because of the migration.',
    labels: ['pool'],
    buckets: seconds,
  },
  switchyard_migration_duration_seconds: {
    type: 'histogram',
    help: 'Reservation to end of a migration.',
    labels: ['pool', 'outcome'],
    buckets: seconds,
  },
  switchyard_hand_offs_total: {
    type: 'counter',
    help: 'Requests that were to go on elsewhere once their prompt was computed: committed, kept where they are (with the reason as code), or unknown.',
    labels: ['pool', 'outcome', 'code'],
  },
  switchyard_hand_off_duration_seconds: {
    type: 'histogram',
    help: 'First token to the answer about the hand-off.',
    labels: ['pool', 'outcome'],
    buckets: seconds,
  },
  switchyard_hand_off_downtime_seconds: {
    type: 'histogram',
    help: 'Time that the sequence produced nothing because of its hand-off.',
    labels: ['pool'],
    buckets: shortSeconds,
  },
  switchyard_hand_off_bytes_total: { type: 'counter', help: 'KV bytes sent for hand-offs.', labels: ['pool'] },
  switchyard_kv_bytes_total: { type: 'counter', help: 'KV bytes that left or reached this agent.', labels: ['direction'] },
  switchyard_kv_checks_failed_total: { type: 'counter', help: 'KV blocks whose checksum was wrong on arrival.', labels: [] },

  // Scaling.
  switchyard_desired_instances: { type: 'gauge', help: 'Size that the scaling policy and its guard want.', labels: ['pool'] },
  switchyard_current_instances: { type: 'gauge', help: 'Instances that run or start.', labels: ['pool'] },
  switchyard_scaling_decisions_total: { type: 'counter', help: 'Scaling decisions, by mode and result.', labels: ['pool', 'mode', 'result'] },

  // Engines (agent). The label is not called "instance": Prometheus names scraped processes so.
  switchyard_engine_running: { type: 'gauge', help: 'Sequences in the batch.', labels: ['pool', 'instance_id'] },
  switchyard_engine_waiting: { type: 'gauge', help: 'Sequences waiting at the engine.', labels: ['pool', 'instance_id'] },
  switchyard_engine_blocks: { type: 'gauge', help: 'All KV blocks.', labels: ['pool', 'instance_id'] },
  switchyard_engine_blocks_free: { type: 'gauge', help: 'Free KV blocks.', labels: ['pool', 'instance_id'] },
  switchyard_engine_blocks_reserved: { type: 'gauge', help: 'KV blocks held for arriving sequences.', labels: ['pool', 'instance_id'] },
  switchyard_engine_steps_total: { type: 'counter', help: 'Engine steps.', labels: ['pool', 'instance_id'] },
  switchyard_engine_preemptions_total: { type: 'counter', help: 'Sequences preempted because KV ran out.', labels: ['pool', 'instance_id'] },
  switchyard_engine_opens_total: {
    type: 'counter',
    help: 'Requests given to the engine, by what it said at once (taken, or the code of its refusal).',
    labels: ['pool', 'instance_id', 'result'],
  },
  switchyard_engine_probes_total: {
    type: 'counter',
    help: 'Tokens asked of an engine that is set aside, by result (well, or the code of its answer).',
    labels: ['pool', 'instance_id', 'result'],
  },
  switchyard_engine_set_aside: {
    type: 'gauge',
    help: '1 while the engine gets no requests because of what it answers.',
    labels: ['pool', 'instance_id'],
  },
  switchyard_engine_tokens_total: { type: 'counter', help: 'Tokens computed, by kind (prompt, output).', labels: ['pool', 'instance_id', 'kind'] },

  // Workflows and approvals (worker).
  switchyard_workflows_total: { type: 'counter', help: 'Workflows that ended, by outcome.', labels: ['workflow', 'outcome'] },
  switchyard_approvals_total: { type: 'counter', help: 'Approvals that were decided, by result.', labels: ['result'] },
  switchyard_votes_total: { type: 'counter', help: 'Votes, by result.', labels: ['result'] },

  // Runtime, in every process.
  target_info: {
    type: 'gauge',
    help: 'Always 1: who serves these metrics, by the names of OpenTelemetry.',
    labels: ['service_name', 'service_instance_id', 'service_version'],
  },
  switchyard_actor_crashes_total: { type: 'counter', help: 'Actor steps or effects that threw.', labels: ['kind'] },
  switchyard_actor_restarts_total: { type: 'counter', help: 'Actors started anew after a failed step.', labels: ['kind'] },
  switchyard_mailbox_full_total: { type: 'counter', help: 'Messages refused because an actor had too many.', labels: ['kind'] },
  switchyard_event_loop_delay_seconds: { type: 'gauge', help: 'Longest event loop delay since the metrics were last asked for.', labels: [] },
  switchyard_heartbeat_age_seconds: { type: 'gauge', help: 'Time since the main loop last ran, as the probe thread sees it.', labels: [] },
  switchyard_metrics_age_seconds: {
    type: 'gauge',
    help: 'Age of these metrics: while the main loop is busy the probe thread gives its last answer again.',
    labels: [],
  },
  switchyard_service_ready: { type: 'gauge', help: '1 while the service is ready.', labels: ['service'] },
  switchyard_bus_dropped_total: {
    type: 'counter',
    help: 'Messages that no handler saw, by cause (expired, undecodable, buffer_full, too_large, closed, given_up).',
    labels: ['cause'],
  },
  switchyard_bus_requests_total: { type: 'counter', help: 'Questions asked, by subject pattern and result.', labels: ['subject', 'result'] },
  switchyard_bus_request_seconds: { type: 'histogram', help: 'Question to answer.', labels: ['subject'], buckets: shortSeconds },
  switchyard_bus_handler_failures_total: { type: 'counter', help: 'Handlers that threw.', labels: ['subject'] },
  switchyard_bus_redeliveries_total: { type: 'counter', help: 'Recorded messages delivered again.', labels: ['subject'] },
  switchyard_bus_connected: { type: 'gauge', help: '1 while connected.', labels: [] },
  switchyard_store_errors_total: { type: 'counter', help: 'Store operations that failed, by operation.', labels: ['operation'] },
  switchyard_store_seconds: { type: 'histogram', help: 'Store operations.', labels: ['operation'], buckets: shortSeconds },
  switchyard_store_connected: { type: 'gauge', help: '1 while connected.', labels: [] },
  switchyard_http_handler_failures_total: { type: 'counter', help: 'HTTP handlers that threw.', labels: [] },
  switchyard_http_connections: { type: 'gauge', help: 'Open HTTP connections.', labels: [] },
  switchyard_config_reloads_total: { type: 'counter', help: 'Changed configuration files, by result.', labels: ['result'] },
  switchyard_traces_kept_total: {
    type: 'counter',
    help: 'Traces that this process wanted exported although they were not sampled, by reason and result (kept, over_limit).',
    labels: ['reason', 'result'],
  },
  switchyard_spans_dropped_total: { type: 'counter', help: 'Spans that the exporter could not take.', labels: [] },

  // OpenTelemetry semantic conventions for HTTP servers, under their Prometheus names.
  http_server_request_duration_seconds: {
    type: 'histogram',
    help: 'Request to end of the response (http.server.request.duration); a client that left before the head has no status.',
    labels: ['http_request_method', 'http_route', 'http_response_status_code'],
    // The standard buckets, and three for streams.
    buckets: [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60, 120],
  },

  // OpenTelemetry GenAI semantic conventions, under their Prometheus names.
  gen_ai_server_request_duration_seconds: {
    type: 'histogram',
    help: 'Request duration (gen_ai.server.request.duration).',
    labels: ['gen_ai_operation_name', 'gen_ai_request_model', 'error_type'],
    buckets: genAiDuration,
  },
  gen_ai_server_time_to_first_token_seconds: {
    type: 'histogram',
    help: 'Time to first token (gen_ai.server.time_to_first_token).',
    labels: ['gen_ai_operation_name', 'gen_ai_request_model'],
    buckets: genAiFirstToken,
  },
  gen_ai_server_time_per_output_token_seconds: {
    type: 'histogram',
    help: 'Time per output token after the first (gen_ai.server.time_per_output_token).',
    labels: ['gen_ai_operation_name', 'gen_ai_request_model'],
    buckets: genAiPerToken,
  },
  gen_ai_client_token_usage: {
    type: 'histogram',
    help: 'Tokens of a request (gen_ai.client.token.usage).',
    labels: ['gen_ai_operation_name', 'gen_ai_request_model', 'gen_ai_token_type'],
    buckets: genAiTokens,
  },
} as const satisfies Record<string, MetricEntry>;

export type MetricName = keyof typeof metrics;

/** The entry of a declared metric. @throws Error when the name is not declared or is of another kind */
export function metricEntry(name: string, type: MetricEntry['type']): MetricEntry {
  const entry: MetricEntry | undefined = (metrics as Record<string, MetricEntry>)[name];
  if (!entry) throw new Error(`metric ${name} is not declared in lib/telemetry/metrics.ts`);
  if (entry.type !== type) throw new Error(`metric ${name} is a ${entry.type}, not a ${type}`);
  return entry;
}

/** @throws Error when a label is not declared for the metric */
export function checkLabels(name: string, entry: MetricEntry, labels: Readonly<Record<string, string>> | undefined): void {
  for (const label in labels) {
    if (!entry.labels.includes(label)) throw new Error(`metric ${name} has no label ${label}; see lib/telemetry/metrics.ts`);
  }
}
