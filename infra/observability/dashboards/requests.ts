// What clients see: how many, how fast, how they end.
import { type Dashboard, graph, mayBeEmpty, number, pool, q, quantiles, rate } from '../panel.ts';

export const requests: Dashboard = {
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
