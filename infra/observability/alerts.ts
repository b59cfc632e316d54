// When a person is called, and what they should look at. infra/observability/prometheus/alerts.yaml and docs/alerts.md are
// made from this (`npm run docs`), and a test asks every expression of a live fleet.
import { serviceNames } from '../../lib/run/service.ts';

export interface Alert {
  readonly name: string;
  readonly expr: string;
  /** How long it must hold, in Prometheus' form. */
  readonly holds: string;
  /** page: clients notice, now. ticket: somebody should look today. */
  readonly severity: 'page' | 'ticket';
  /** `{{ $labels.x }}` and `{{ $value }}` are filled in. */
  readonly summary: string;
  readonly whatToDo: string;
}

/** Happened within the window, also when the series did not exist before: `increase` does not see a first event. */
function happened(selector: string, window: string): string {
  return `increase(${selector}[${window}]) > 0 or (${selector} > 0 unless ${selector} offset ${window})`;
}

/** True for each of these services that has no ready process; the label says which. */
function away(services: readonly string[]): string {
  return services.map((service) => `absent(switchyard_service_ready{service="${service}"} == 1)`).join(' or ');
}

/** On the way of every request. */
const serving = ['gateway', 'admission', 'router'];
const others = serviceNames.filter((name) => name !== 'agent' && !serving.includes(name));

export const alerts: readonly Alert[] = [
  {
    name: 'SwitchyardServingAway',
    expr: away(serving),
    holds: '30s',
    severity: 'page',
    summary: 'no {{ $labels.service }} is ready',
    whatToDo:
      '`switchyard status` says which processes there are and why one is not ready; then the log of the process. New requests are not served.',
  },
  {
    name: 'SwitchyardServiceAway',
    expr: away(others),
    holds: '2m',
    severity: 'ticket',
    summary: 'no {{ $labels.service }} is ready',
    whatToDo: 'As above. Serving goes on; the README of the service says what does not.',
  },
  {
    name: 'SwitchyardPoolWithoutInstances',
    expr: 'max by (pool) (switchyard_instances{health="healthy"}) == 0 and on (pool) max by (pool) (switchyard_desired_instances) > 0',
    holds: '30s',
    severity: 'page',
    summary: 'pool {{ $labels.pool }} has no healthy instance',
    whatToDo:
      '`switchyard instances` for what the tracker sees; the logs of its agents. Requests wait until their queue deadline, then get 429 or 503.',
  },
  {
    name: 'SwitchyardInstanceDead',
    expr: 'max by (pool) (switchyard_instances{health="dead"}) > 0',
    holds: '1m',
    severity: 'ticket',
    summary: '{{ $value }} instances of pool {{ $labels.pool }} are silent',
    whatToDo: 'Its requests were continued elsewhere. Start the agent again, or `switchyard scale` the pool.',
  },
  {
    name: 'SwitchyardEngineSetAside',
    expr: 'max by (pool, instance_id) (switchyard_engine_set_aside) == 1',
    holds: '1m',
    severity: 'ticket',
    summary: '{{ $labels.instance_id }} of pool {{ $labels.pool }} gets no requests: its engine fails',
    whatToDo:
      '`switchyard instances` says what it answers. It is asked for a token several times a second, and gets requests again once it gives one.',
  },
  {
    name: 'SwitchyardInstancesStale',
    expr: 'max by (pool) (switchyard_stale_instances) > 0',
    holds: '1m',
    severity: 'ticket',
    summary: 'reports of {{ $value }} instances of pool {{ $labels.pool }} come late',
    whatToDo: 'Event loop delay of their agents, and the bus (dashboard "fleet", row "Processes").',
  },
  {
    name: 'SwitchyardRequestsFail',
    expr: 'sum by (pool) (rate(switchyard_requests_total{outcome="failed"}[5m])) / sum by (pool) (rate(switchyard_requests_total[5m])) > 0.01',
    holds: '5m',
    severity: 'page',
    summary: '{{ $value | humanizePercentage }} of the requests to pool {{ $labels.pool }} fail',
    whatToDo:
      'Dashboard "requests", row "When something fails", for the codes; `switchyard trace <request>` for one of them. Failed requests are always traced.',
  },
  {
    name: 'SwitchyardRequestsRefused',
    expr: 'sum by (pool) (rate(switchyard_drops_total{reason!="client_left"}[5m])) / sum by (pool) (rate(switchyard_requests_total[5m])) > 0.05',
    holds: '5m',
    severity: 'ticket',
    summary: '{{ $value | humanizePercentage }} of the requests to pool {{ $labels.pool }} are refused',
    whatToDo: 'Dashboard "admission": the reason. A full queue wants more instances (`switchyard scale`), a limit wants a look at its key.',
  },
  {
    name: 'SwitchyardFirstTokensSlow',
    expr: 'histogram_quantile(0.95, sum by (le, pool) (rate(switchyard_request_ttft_seconds_bucket[5m]))) > 5',
    holds: '10m',
    severity: 'ticket',
    summary: 'first tokens of pool {{ $labels.pool }} take {{ $value | humanizeDuration }} (p95)',
    whatToDo: 'Waiting in the queue (dashboard "admission") or at the engine (dashboard "fleet")? The traces of slow requests are kept.',
  },
  {
    name: 'SwitchyardPoolFull',
    expr: 'max by (pool) (switchyard_pool_saturation) >= 1 and on (pool) sum by (pool) (switchyard_queue_depth) > 0',
    holds: '5m',
    severity: 'ticket',
    summary: 'pool {{ $labels.pool }} is full and requests wait',
    whatToDo: 'Is scaling active and not at its maximum? `switchyard status` shows mode and size, `switchyard approvals` what waits for people.',
  },
  {
    name: 'SwitchyardSizeNotReached',
    expr: 'max by (pool) (switchyard_desired_instances) != on (pool) max by (pool) (switchyard_current_instances)',
    holds: '15m',
    severity: 'ticket',
    summary: 'pool {{ $labels.pool }} should have {{ $value }} instances and has not',
    whatToDo: 'In advisory mode this is a suggestion. Otherwise: `switchyard approvals`, then the scalePool workflow in Temporal.',
  },
  {
    name: 'SwitchyardFailovers',
    expr: 'sum by (pool, reason) (increase(switchyard_failovers_total[10m])) > 10',
    holds: '0s',
    severity: 'ticket',
    summary: '{{ $value | humanize }} requests of pool {{ $labels.pool }} had to be continued elsewhere ({{ $labels.reason }})',
    whatToDo: 'Clients saw a pause. `switchyard instances` and the log of the agent that they ran on.',
  },
  {
    name: 'SwitchyardMigrationsAbort',
    expr: 'sum by (pool) (rate(switchyard_migrations_total{outcome="aborted"}[10m])) / sum by (pool) (rate(switchyard_migrations_total[10m])) > 0.2',
    holds: '10m',
    severity: 'ticket',
    summary: '{{ $value | humanizePercentage }} of the migrations in pool {{ $labels.pool }} are aborted',
    whatToDo: 'Dashboard "migrations": the codes. Requests go on where they were.',
  },
  {
    name: 'SwitchyardMigrationsPause',
    expr: 'histogram_quantile(0.95, sum by (le, pool) (rate(switchyard_migration_downtime_seconds_bucket[10m]))) > 0.5',
    holds: '10m',
    severity: 'ticket',
    summary: 'migrations in pool {{ $labels.pool }} pause their requests for {{ $value | humanizeDuration }} (p95)',
    whatToDo: 'The link between the agents (KV bytes on the dashboard "migrations"); the worker and its event loop.',
  },
  {
    name: 'SwitchyardMigrationsHeldBack',
    expr: 'sum by (cause) (increase(switchyard_migrations_held_back_total{cause="workflows_unavailable"}[5m])) > 0',
    holds: '5m',
    severity: 'ticket',
    summary: 'migrations cannot be started: Temporal is away',
    whatToDo: 'Serving and fail-over go on; drains, scaling and approvals wait. Look at Temporal.',
  },
  {
    name: 'SwitchyardKvCorrupted',
    expr: 'sum(increase(switchyard_kv_checks_failed_total[10m])) > 0',
    holds: '0s',
    severity: 'ticket',
    summary: '{{ $value | humanize }} KV pieces arrived damaged',
    whatToDo:
      'They were refused and sent again, no wrong token came of it. The memory or network of a machine is suspect: the log of the receiving agent.',
  },
  {
    name: 'SwitchyardEventsLost',
    expr: happened('switchyard_audit_failures_total', '1h'),
    holds: '0s',
    severity: 'page',
    summary: 'events of kind {{ $labels.kind }} could not be recorded',
    whatToDo: 'Budgets or the audit log are incomplete; the log of the process has every event. Look at JetStream: disk, limits, quorum.',
  },
  {
    name: 'SwitchyardActorCrashed',
    expr: happened('switchyard_actor_crashes_total', '10m'),
    holds: '0s',
    severity: 'ticket',
    summary: 'an actor of kind {{ $labels.kind }} crashed',
    whatToDo: 'It is a defect: the log of the process has the stack. The actor was started anew.',
  },
  {
    name: 'SwitchyardMailboxFull',
    expr: happened('switchyard_mailbox_full_total', '10m'),
    holds: '0s',
    severity: 'ticket',
    summary: 'an actor of kind {{ $labels.kind }} had more messages than it may',
    whatToDo: 'The process does not keep up: its CPU and event loop delay. More replicas help routers and gateways.',
  },
  {
    name: 'SwitchyardBusDrops',
    expr: happened('switchyard_bus_dropped_total{cause=~"given_up|undecodable|too_large|buffer_full"}', '10m'),
    holds: '0s',
    severity: 'ticket',
    summary: 'messages were dropped on the bus ({{ $labels.cause }})',
    whatToDo:
      'given_up and undecodable: versions that do not fit, see the log. buffer_full: NATS was away for long. Expired messages are normal and not counted here.',
  },
  {
    name: 'SwitchyardBusAway',
    expr: 'count(switchyard_bus_connected == 0) > 0',
    holds: '30s',
    severity: 'page',
    summary: '{{ $value }} processes are cut off from NATS',
    whatToDo: 'Running streams go on; new requests wait or get a 503.',
  },
  {
    name: 'SwitchyardStoreAway',
    expr: 'count(switchyard_store_connected == 0) > 0',
    holds: '30s',
    severity: 'page',
    summary: '{{ $value }} processes are cut off from Redis',
    whatToDo: 'Serving goes on under current leases; ownership cannot change and keys that are not cached cannot be checked.',
  },
  {
    name: 'SwitchyardLoopBlocked',
    expr: 'switchyard_event_loop_delay_seconds * on (job, instance) group_left (service_instance_id) target_info > 0.25',
    holds: '2m',
    severity: 'ticket',
    summary: '{{ $labels.service_instance_id }} stands still for {{ $value | humanizeDuration }} at a time',
    whatToDo: 'Its CPU. The gateway adds this to every token: run more gateways.',
  },
  {
    name: 'SwitchyardProcessStuck',
    expr: 'switchyard_heartbeat_age_seconds * on (job, instance) group_left (service_instance_id) target_info > 5',
    holds: '10s',
    severity: 'page',
    summary: '{{ $labels.service_instance_id }} has not moved for {{ $value | humanizeDuration }}',
    whatToDo: 'Its probes answer from a thread of their own, the main loop does not run. It is restarted after 30 s where health checks are used.',
  },
  {
    name: 'SwitchyardRoutingBlind',
    expr: 'sum(rate(switchyard_routing_stale_views_total[2m])) > 0',
    holds: '2m',
    severity: 'ticket',
    summary: 'routing works from an old view of the fleet',
    whatToDo: 'Is there a publishing tracker (`switchyard status`, column OWNS)?',
  },
  {
    name: 'SwitchyardTracesLost',
    expr: 'sum(increase(switchyard_spans_dropped_total[10m])) > 0',
    holds: '10m',
    severity: 'ticket',
    summary: 'the tracing backend does not take spans',
    whatToDo: 'Serving is not affected. The log names the error.',
  },
];
