// Requests that move while they generate, and the workflows that move them.
import { type Dashboard, graph, mayBeEmpty, pool, q, quantiles, rate } from '../panel.ts';

export const migrations: Dashboard = {
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
