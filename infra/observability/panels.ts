// What the Grafana dashboards show: panels and their queries. The JSON below grafana/ is made from this (`npm run docs`),
// and a test asks every query of a live fleet. `$pool` is the pool that the viewer has picked, all of them by default.

export type Unit = 'short' | 's' | 'percentunit' | 'reqps' | 'ops' | 'Bps' | 'bytes' | 'none';

export interface Query {
  readonly expr: string;
  /** `{{label}}` stands for the label's value. */
  readonly legend: string;
}

export interface Panel {
  readonly title: string;
  /** For the panel's tooltip: what to read from it. */
  readonly about: string;
  readonly kind: 'graph' | 'number';
  readonly unit: Unit;
  readonly queries: readonly Query[];
  /** Values from which a number is shown in yellow and in red. */
  readonly thresholds?: readonly [number, number];
  /** Nothing is shown while nothing of the kind has happened. */
  readonly mayBeEmpty?: boolean;
}

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

export interface Dashboard {
  readonly id: string;
  readonly title: string;
  readonly about: string;
  readonly rows: readonly Row[];
}

type Extra = Partial<Pick<Panel, 'mayBeEmpty' | 'thresholds'>>;

const q = (legend: string, expr: string): Query => ({ legend, expr });
const graph = (title: string, unit: Unit, about: string, queries: readonly Query[], extra: Extra = {}): Panel => ({
  title,
  unit,
  about,
  queries,
  kind: 'graph',
  ...extra,
});
const number = (title: string, unit: Unit, about: string, expr: string, extra: Extra = {}): Panel => ({
  title,
  unit,
  about,
  queries: [q('', expr)],
  kind: 'number',
  ...extra,
});

const pool = 'pool=~"$pool"';
const rate = (metric: string, matchers = pool) => `rate(${metric}{${matchers}}[$__rate_interval])`;

/** Quantiles of a histogram, one query each. */
function quantiles(metric: string, by: readonly string[], legend: string, matchers = pool, wanted: readonly number[] = [0.5, 0.95, 0.99]): Query[] {
  return wanted.map((quantile) =>
    q(
      `p${quantile * 100}${legend === '' ? '' : ` ${legend}`}`,
      `histogram_quantile(${quantile}, sum by (${['le', ...by].join(', ')}) (${rate(`${metric}_bucket`, matchers)}))`,
    ),
  );
}

const mayBeEmpty = true;

const fleet: Dashboard = {
  id: 'switchyard-fleet',
  title: 'Switchyard: fleet',
  about: 'Instances and their load, and the processes of the control plane.',
  rows: [
    {
      title: 'Now',
      panels: [
        number(
          'Healthy instances',
          'short',
          'Instances that report in time.',
          `sum(max by (pool) (switchyard_instances{${pool}, health="healthy"}))`,
        ),
        number(
          'Silent instances',
          'short',
          'Instances that are suspect or dead: they have not reported for 1.5 s or 3 s.',
          `sum(max by (pool, health) (switchyard_instances{${pool}, health=~"suspect|dead"}))`,
          { thresholds: [1, 2] },
        ),
        number(
          'Processes not ready',
          'short',
          'Processes of the control plane that say so themselves.',
          'count(switchyard_service_ready == 0) or vector(0)',
          {
            thresholds: [1, 3],
          },
        ),
        number('Sequences running', 'short', 'In all batches together.', `sum(switchyard_engine_running{${pool}})`),
        number(
          'Output tokens a second',
          'short',
          'Computed by all engines.',
          `sum(${rate('switchyard_engine_tokens_total', `${pool}, kind="output"`)})`,
        ),
        number(
          'Migrations running',
          'short',
          'Requests on their way between instances.',
          `sum(max by (pool) (switchyard_migrations_active{${pool}}))`,
        ),
      ],
    },
    {
      title: 'Instances',
      panels: [
        graph('Instances by health', 'short', 'As the tracker sees them.', [
          q('{{pool}} {{health}}', `max by (pool, health) (switchyard_instances{${pool}})`),
        ]),
        graph('Wanted and running', 'short', 'What the scaling policy and its guard want, and what there is.', [
          q('{{pool}} wanted', `max by (pool) (switchyard_desired_instances{${pool}})`),
          q('{{pool}} now', `max by (pool) (switchyard_current_instances{${pool}})`),
        ]),
        graph('Sequences in the batch', 'short', 'Uneven lines are what rebalancing works on.', [
          q('{{instance_id}}', `max by (instance_id) (switchyard_engine_running{${pool}})`),
        ]),
        graph('Sequences waiting at the engine', 'short', 'Admission keeps this low: what waits should wait in its queue.', [
          q('{{instance_id}}', `max by (instance_id) (switchyard_engine_waiting{${pool}})`),
        ]),
        graph('KV blocks in use', 'percentunit', 'At 100 % an engine preempts.', [
          q(
            '{{instance_id}}',
            `1 - max by (instance_id) (switchyard_engine_blocks_free{${pool}}) / max by (instance_id) (switchyard_engine_blocks{${pool}} > 0)`,
          ),
        ]),
        graph('KV blocks reserved', 'short', 'Held for sequences that are moving in.', [
          q('{{instance_id}}', `max by (instance_id) (switchyard_engine_blocks_reserved{${pool}})`),
        ]),
        graph('Tokens computed', 'short', 'A second, by instance and kind.', [
          q('{{instance_id}} {{kind}}', `sum by (instance_id, kind) (${rate('switchyard_engine_tokens_total')})`),
        ]),
        graph('Steps and preemptions', 'ops', 'Steps of the engine, and sequences preempted because KV ran out.', [
          q('{{instance_id}} steps', `sum by (instance_id) (${rate('switchyard_engine_steps_total')})`),
          q('{{instance_id}} preemptions', `sum by (instance_id) (${rate('switchyard_engine_preemptions_total')})`),
        ]),
        graph('Stale instances', 'short', 'Their last report is older than the limit: decisions about them are guesses.', [
          q('{{pool}}', `max by (pool) (switchyard_stale_instances{${pool}})`),
        ]),
        graph('Status reports', 'ops', 'Taken by the tracker, by result.', [
          q('{{result}}', `sum by (result) (${rate('switchyard_status_reports_total', '')})`),
        ]),
      ],
    },
    {
      title: 'Scaling',
      panels: [
        graph('Scaling decisions', 'ops', 'By mode and result; in advisory mode nothing is carried out.', [
          q('{{pool}} {{mode}} {{result}}', `sum by (pool, mode, result) (${rate('switchyard_scaling_decisions_total')})`),
        ]),
        graph(
          'Approvals and votes',
          'ops',
          'What people decided.',
          [
            q('approvals {{result}}', `sum by (result) (${rate('switchyard_approvals_total', '')})`),
            q('votes {{result}}', `sum by (result) (${rate('switchyard_votes_total', '')})`),
          ],
          { mayBeEmpty },
        ),
      ],
    },
    {
      title: 'Processes',
      panels: [
        graph('Ready', 'short', 'Ready processes of each service.', [q('{{service}}', 'sum by (service) (switchyard_service_ready)')]),
        graph('Event loop delay', 's', 'Longest in the last second. The gateway adds it to every token.', [
          q('{{service_instance_id}}', named('switchyard_event_loop_delay_seconds')),
        ]),
        graph('CPU', 'percentunit', 'Of one core.', [q('{{service_instance_id}}', named('rate(process_cpu_seconds_total[$__rate_interval])'))]),
        graph('Memory', 'bytes', 'Resident.', [q('{{service_instance_id}}', named('process_resident_memory_bytes'))]),
        graph('Questions on the bus', 'ops', 'By subject and result.', [
          q('{{subject}} {{result}}', `sum by (subject, result) (${rate('switchyard_bus_requests_total', '')})`),
        ]),
        graph('Answers on the bus, p99', 's', 'Question to answer. Admission holds a question for up to a second while there is no room.', [
          q('{{subject}}', `histogram_quantile(0.99, sum by (le, subject) (${rate('switchyard_bus_request_seconds_bucket', '')}))`),
        ]),
        graph('Store operations, p99', 's', 'Redis, as its callers see it.', [
          q('{{operation}}', `histogram_quantile(0.99, sum by (le, operation) (${rate('switchyard_store_seconds_bucket', '')}))`),
        ]),
        graph('Connected', 'none', 'The least of all processes: 0 while any of them is cut off.', [
          q('bus', 'min(switchyard_bus_connected)'),
          q('store', 'min(switchyard_store_connected)'),
        ]),
        graph(
          'What should not happen',
          'ops',
          'Messages that no handler saw, failed handlers and store operations, actors that crashed or had too many messages.',
          [
            q('bus dropped: {{cause}}', `sum by (cause) (${rate('switchyard_bus_dropped_total', '')})`),
            q('handler of {{subject}}', `sum by (subject) (${rate('switchyard_bus_handler_failures_total', '')})`),
            q('store {{operation}}', `sum by (operation) (${rate('switchyard_store_errors_total', '')})`),
            q('actor {{kind}} crashed', `sum by (kind) (${rate('switchyard_actor_crashes_total', '')})`),
            q('mailbox {{kind}} full', `sum by (kind) (${rate('switchyard_mailbox_full_total', '')})`),
          ],
          { mayBeEmpty },
        ),
      ],
    },
  ],
};

/** With the name of the process in place of the scraped address. */
function named(expr: string): string {
  return `${expr} * on (job, instance) group_left (service_instance_id) target_info`;
}

const requests: Dashboard = {
  id: 'switchyard-requests',
  title: 'Switchyard: requests',
  about: 'What clients see: how many, how fast, how they end.',
  rows: [
    {
      title: 'Traffic',
      panels: [
        graph('Requests by outcome', 'reqps', 'That ended. A client that leaves is "aborted".', [
          q('{{pool}} {{outcome}}', `sum by (pool, outcome) (${rate('switchyard_requests_total')})`),
        ]),
        number(
          'Failed',
          'percentunit',
          'Share of ended requests that began and failed.',
          `(sum(${rate('switchyard_requests_total', `${pool}, outcome="failed"`)}) or vector(0)) / sum(${rate('switchyard_requests_total')})`,
          { thresholds: [0.001, 0.01] },
        ),
        graph('Active requests', 'short', 'Arrived and not ended.', [q('{{pool}}', `sum by (pool) (switchyard_requests_active{${pool}})`)]),
        graph('Tokens', 'short', 'A second, of requests that ended.', [
          q('{{pool}} prompt', `sum by (pool) (${rate('switchyard_prompt_tokens_total')})`),
          q('{{pool}} output', `sum by (pool) (${rate('switchyard_output_tokens_total')})`),
        ]),
      ],
    },
    {
      title: 'Speed',
      panels: [
        graph('Time to first token', 's', 'Arrival to first output token.', quantiles('switchyard_request_ttft_seconds', ['pool'], '{{pool}}')),
        graph('Time per output token', 's', 'After the first.', quantiles('switchyard_request_tpot_seconds', ['pool'], '{{pool}}')),
        graph('Time to first token, p95 by class', 's', 'The queue serves urgent classes first.', [
          q('{{slo_class}}', `histogram_quantile(0.95, sum by (le, slo_class) (${rate('switchyard_request_ttft_seconds_bucket')}))`),
        ]),
        graph('Whole answer', 's', 'Arrival to last output token.', quantiles('switchyard_request_e2e_seconds', ['pool'], '{{pool}}')),
        graph(
          'Overhead',
          's',
          'What Switchyard itself added before the stream was opened, waiting included.',
          quantiles('switchyard_overhead_seconds', [], ''),
        ),
        graph('Duration by model (GenAI)', 's', 'gen_ai.server.request.duration.', [
          q(
            '{{gen_ai_request_model}} {{error_type}}',
            `histogram_quantile(0.95, sum by (le, gen_ai_request_model, error_type) (${rate('gen_ai_server_request_duration_seconds_bucket', '')}))`,
          ),
        ]),
      ],
    },
    {
      title: 'When something fails',
      panels: [
        graph(
          'Fail-overs',
          'ops',
          'Requests that were continued on another instance, by what happened to the first.',
          [q('{{pool}} {{reason}}', `sum by (pool, reason) (${rate('switchyard_failovers_total')})`)],
          { mayBeEmpty },
        ),
        graph(
          'Failed and refused, by code',
          'reqps',
          'docs/errors.md explains the codes.',
          [q('{{outcome}} {{code}}', `sum by (outcome, code) (rate(switchyard_requests_total{outcome=~"failed|refused"}[$__rate_interval]))`)],
          { mayBeEmpty },
        ),
        graph(
          'Clients that left',
          'reqps',
          'By how far their request was.',
          [q('{{state}}', `sum by (state) (${rate('switchyard_clients_left_total', '')})`)],
          { mayBeEmpty },
        ),
        graph(
          'Tokens that did not count',
          'ops',
          'Late tokens of an instance that no longer speaks for the request.',
          [q('{{reason}}', `sum by (reason) (${rate('switchyard_tokens_dropped_total', '')})`)],
          { mayBeEmpty },
        ),
        graph(
          'Traces kept',
          'ops',
          'Traces exported although they were not sampled, by reason; over_limit: there were too many.',
          [q('{{reason}} {{result}}', `sum by (reason, result) (${rate('switchyard_traces_kept_total', '')})`)],
          { mayBeEmpty },
        ),
      ],
    },
  ],
};

const migrations: Dashboard = {
  id: 'switchyard-migrations',
  title: 'Switchyard: migrations',
  about: 'Requests that move while they generate, and the workflows that move them.',
  rows: [
    {
      title: 'Moves',
      panels: [
        graph('Ended, by outcome and reason', 'ops', 'Reasons: imbalance, drain, scale_in, operator and so on.', [
          q('{{outcome}} {{reason}}', `sum by (outcome, reason) (${rate('switchyard_migrations_total')})`),
        ]),
        graph('Running', 'short', 'Now.', [q('{{pool}}', `max by (pool) (switchyard_migrations_active{${pool}})`)]),
        graph(
          'Aborted, by code',
          'ops',
          'An aborted migration costs nothing but the copy: the request goes on where it was.',
          [q('{{code}}', `sum by (code) (${rate('switchyard_migrations_total', `${pool}, outcome="aborted"`)})`)],
          { mayBeEmpty },
        ),
        graph(
          'Held back',
          'ops',
          'Planned and not started, by cause.',
          [q('{{pool}} {{cause}}', `sum by (pool, cause) (${rate('switchyard_migrations_held_back_total')})`)],
          { mayBeEmpty },
        ),
      ],
    },
    {
      title: 'What a move costs',
      panels: [
        graph('Downtime', 's', 'The sequence produced nothing for so long. It does not grow with the length of the sequence.', [
          ...quantiles('switchyard_migration_downtime_seconds', [], ''),
        ]),
        graph('Duration', 's', 'Reservation to end; the request generates meanwhile.', [
          ...quantiles('switchyard_migration_duration_seconds', ['outcome'], '{{outcome}}', pool, [0.5, 0.95]),
        ]),
        graph('KV bytes', 'Bps', 'Between agents.', [q('{{direction}}', `sum by (direction) (${rate('switchyard_kv_bytes_total', '')})`)]),
        graph('Wrong KV pieces', 'ops', 'Refused by their checksum and sent again. More than a few: look at the network.', [
          q('', `sum(${rate('switchyard_kv_checks_failed_total', '')})`),
        ]),
      ],
    },
    {
      title: 'Workflows',
      panels: [
        graph('Workflows ended', 'ops', 'By kind and outcome; Temporal has the history of each.', [
          q('{{workflow}} {{outcome}}', `sum by (workflow, outcome) (${rate('switchyard_workflows_total', '')})`),
        ]),
      ],
    },
  ],
};

const admission: Dashboard = {
  id: 'switchyard-admission',
  title: 'Switchyard: admission and routing',
  about: 'What waits, why something is refused, and how instances are picked.',
  rows: [
    {
      title: 'Queues',
      panels: [
        graph('Queue depth', 'short', 'Requests waiting, by class.', [
          q('{{pool}} {{slo_class}}', `sum by (pool, slo_class) (switchyard_queue_depth{${pool}})`),
        ]),
        graph(
          'Time in the queue',
          's',
          'Admission to assignment.',
          quantiles('switchyard_queue_wait_seconds', ['slo_class'], '{{slo_class}}', pool, [0.5, 0.95]),
        ),
        graph('Saturation', 'percentunit', 'Requests in flight over what the pool can take; from 100 % on requests wait.', [
          q('{{pool}}', `max by (pool) (switchyard_pool_saturation{${pool}})`),
        ]),
        graph('KV blocks wanted by what waits', 'short', 'Scaling counts them.', [
          q('{{pool}}', `sum by (pool) (switchyard_queue_demand_blocks{${pool}})`),
        ]),
        graph(
          'Refused and dropped',
          'reqps',
          'By reason; docs/errors.md explains them.',
          [q('{{pool}} {{reason}}', `sum by (pool, reason) (${rate('switchyard_drops_total')})`)],
          { mayBeEmpty },
        ),
        graph(
          'Events not recorded',
          'ops',
          'Ends of requests and audit events that JetStream did not take in time. Budgets and audits are incomplete then.',
          [q('{{kind}}', `sum by (kind) (${rate('switchyard_audit_failures_total', '')})`)],
          { mayBeEmpty },
        ),
      ],
    },
    {
      title: 'Routing',
      panels: [
        graph('Decisions', 'ops', 'By result.', [q('{{pool}} {{result}}', `sum by (pool, result) (${rate('switchyard_routing_decisions_total')})`)]),
        graph('One decision', 's', 'Filter, score and pick, per request.', quantiles('switchyard_scheduler_e2e_duration_seconds', [], '', '')),
        graph(
          'Age of the fleet view',
          's',
          'At the moment of a decision.',
          quantiles('switchyard_routing_view_age_seconds', [], '', '', [0.5, 0.99]),
        ),
        graph('Decisions from a stale view', 'ops', 'The view was older than its limit: the tracker is away or late.', [
          q('', `sum(${rate('switchyard_routing_stale_views_total', '')})`),
        ]),
        graph('Placements that no report shows yet', 'short', "The router's own account, per router.", [
          q('{{service_instance_id}}', named('switchyard_routing_account_bookings')),
        ]),
        graph('Prefix cache', 'percentunit', 'Mean share of prompt blocks expected on the picked instance.', [
          q('{{pool}}', `sum by (pool) (${rate('switchyard_prefix_hit_ratio_sum')}) / sum by (pool) (${rate('switchyard_prefix_hit_ratio_count')})`),
        ]),
        graph('Prefix index', 'short', 'Blocks remembered, per router.', [q('{{service_instance_id}}', named('switchyard_prefix_index_entries'))]),
        graph(
          'Decision records not written',
          'ops',
          '`switchyard explain` cannot show these decisions.',
          [q('{{cause}}', `sum by (cause) (${rate('switchyard_decision_records_dropped_total', '')})`)],
          { mayBeEmpty },
        ),
      ],
    },
  ],
};

export const dashboards: readonly Dashboard[] = [fleet, requests, migrations, admission];
