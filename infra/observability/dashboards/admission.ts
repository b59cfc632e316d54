// What waits, why something is refused, and how instances are picked.
import { type Dashboard, graph, mayBeEmpty, named, pool, q, quantiles, rate } from '../panel.ts';

export const admission: Dashboard = {
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
