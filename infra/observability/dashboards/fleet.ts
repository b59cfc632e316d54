// Instances and their load, scaling, and the processes of the control plane.
import { type Dashboard, graph, mayBeEmpty, named, number, pool, q, rate } from '../panel.ts';

export const fleet: Dashboard = {
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
