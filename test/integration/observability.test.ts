// What operators see of a fleet: every query of the dashboards and alerts against the /metrics of real processes, the
// traces that are exported although nothing is sampled, and log lines that belong to them.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Alert, alerts } from '../../infra/observability/alerts.ts';
import { dashboards } from '../../infra/observability/dashboards.ts';
import type { Journey, MoveAnswer, RequestRow, ScrapeTarget } from '../../lib/operator/types.ts';
import { type MetricEntry, metrics } from '../../lib/telemetry/metrics.ts';
import { eventually } from '../support/eventually.ts';
import { metricOf, nothingExposed, readExposition } from '../support/exposition.ts';
import { type Fleet, startFleet } from '../support/fleet.ts';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../support/otlp-receiver.ts';
import { hasPrometheus, type PrometheusSeries, startPrometheus, type TestPrometheus } from '../support/prometheus.ts';
import { readPromql } from '../support/promql.ts';

const model = 'llama-3.1-8b';
const panels = dashboards.flatMap((dashboard) =>
  dashboard.rows.flatMap((row) => row.panels.map((panel) => ({ ...panel, dashboard: dashboard.title }))),
);
const panelQueries = panels.flatMap((panel) => panel.queries.map(({ expr }) => ({ where: `${panel.dashboard} / ${panel.title}`, panel, expr })));
const filledIn = (expr: string) => expr.replaceAll('$pool', '.*').replaceAll('$__rate_interval', '30s');

let fleet: Fleet;
let receiver: OtlpReceiver;
let prometheus: TestPrometheus | undefined;
const exposed = nothingExposed();
/** What every query of every panel shows while requests run. */
const shown: { readonly where: string; readonly mayBeEmpty: boolean; readonly series: readonly PrometheusSeries[] }[] = [];
/** By what happened to them. */
const requests: Record<'plain' | 'moved' | 'continued', RequestRow> = {} as never;
/** Alerts whose expression was true while all was well. */
const falseAlarms: string[] = [];
/** Spans of the request that simply went well, as the operator API shows them. */
let plainSpans: string[] = [];
/** Those of a request that streams, as the operator API shows them meanwhile. */
let openSpans: string[] = [];

function chat(maxTokens: number, signal?: AbortSignal): Promise<string> {
  return fetch(`${fleet.gatewayUrl}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model, stream: true, max_tokens: maxTokens, messages: [{ role: 'user', content: `Count to ${maxTokens}` }] }),
    ...(signal ? { signal } : {}),
  }).then((response) => response.text());
}

/** A request that streams, of those that were not there before. */
async function streaming(before: readonly string[]): Promise<RequestRow> {
  let row: RequestRow | undefined;
  await eventually('it streams', 10_000, async () => {
    const rows = await fleet.requests();
    row = rows.find((each) => !before.includes(each.id) && each.state === 'streaming' && each.tokens > 3);
    return { ok: row !== undefined, seen: rows };
  });
  return row!;
}

const ids = async () => (await fleet.requests(true)).map((row) => row.id);

async function readMetrics(): Promise<void> {
  const targets = await fleet.client('test').get<ScrapeTarget[]>('/scrape-targets');
  for (const { targets: addresses } of targets) readExposition(await (await fetch(`http://${addresses[0]}/metrics`)).text(), exposed);
}

/** A busy machine is not what is tested, and these alerts ask for minutes of it. */
const measuresTheMachine = new Set([
  'SwitchyardFirstTokensSlow',
  'SwitchyardMigrationsPause',
  'SwitchyardLoopBlocked',
  'SwitchyardProcessStuck',
  'SwitchyardInstancesStale',
  'SwitchyardRoutingBlind',
]);

/** Notes an alert whose expression is true and stays so for a moment. */
async function stillAlarmed({ name, expr }: Alert): Promise<void> {
  await eventually(`${name} is silent`, 3_000, async () => {
    const series = await prometheus!.query(expr);
    return { ok: series.length === 0, seen: series };
  }).catch((thrown) => falseAlarms.push(String(thrown)));
}

/** Every process has been scraped again, twice: rates have something to compare. */
async function scrapedTwice(): Promise<void> {
  const scrapes = async () => Number((await prometheus?.query('count_over_time(up{process="gateway-1"}[5m])'))?.[0]?.value[1] ?? 0);
  if (!prometheus) return;
  const from = await scrapes();
  await eventually('Prometheus has read everything again', 10_000, async () => ({ ok: (await scrapes()) >= from + 2, seen: await scrapes() }));
}

beforeAll(async () => {
  receiver = await startOtlpReceiver();
  fleet = await startFleet({
    pools: [
      {
        id: 'chat',
        models: [model],
        instances: 3,
        max: 3,
        sim: { profile: 'llama-3.1-8b-h100', speed: 0.2, blocks: 1024, kvBytesPerToken: 256, maxRunning: 16, maxWaiting: 16 },
      },
    ],
    settings: { 'migration-coordinator': { mode: 'off' } },
    env: {
      OTEL_TRACES_EXPORTER: 'otlp',
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
      OTEL_TRACES_SAMPLER_ARG: '0',
    },
  });
  if (hasPrometheus()) prometheus = await startPrometheus(fleet.consoleUrl);

  const long = chat(100);
  requests.moved = await streaming([]);
  const running = await fleet.client('test').get<Journey>(`/trace/${requests.moved.id}`);
  openSpans = running.spans.filter((span) => span.open).map((span) => span.name);
  const move = await fleet.client('mover').post<MoveAnswer>('/migrate', { request: requests.moved.id, to: '' });
  await eventually('the request has moved', 20_000, async () => {
    const row = (await fleet.requests(true)).find((each) => each.id === requests.moved.id);
    return { ok: row?.migrations === 1, seen: { row, move } };
  });
  const before = await ids();
  expect(await chat(5)).toContain('[DONE]');
  requests.plain = (await fleet.requests(true)).find((row) => !before.includes(row.id))!;
  expect(await long).toContain('[DONE]');
  const journey = await fleet.client('test').get<Journey>(`/trace/${requests.plain.id}`);
  plainSpans = journey.spans.map((span) => span.name);
  await readMetrics();
  await scrapedTwice();
  for (const alert of prometheus ? alerts : []) if (!measuresTheMachine.has(alert.name)) await stillAlarmed(alert);

  const known = await ids();
  const other = chat(100);
  requests.continued = await streaming(known);
  await fleet.kill(`agent-${requests.continued.instance}`);
  expect(await other).toContain('[DONE]');
  const earlier = await ids();
  const leave = new AbortController();
  const left = chat(200, leave.signal).catch(() => 'left');
  await streaming(earlier);
  leave.abort();
  expect(await left).toBe('left');
  await readMetrics();
  await scrapedTwice();
  await lookAtPanels();
}, 180_000);

/** With SWITCHYARD_TEST_PANELS=true it is printed. */
async function lookAtPanels(): Promise<void> {
  if (!prometheus) return;
  const running = Promise.all(Array.from({ length: 24 }, () => chat(150)));
  await scrapedTwice();
  for (const { where, panel, expr } of panelQueries)
    shown.push({ where, mayBeEmpty: panel.mayBeEmpty === true, series: await prometheus.query(filledIn(expr)) });
  for (const text of await running) expect(text).toContain('[DONE]');
  if (process.env.SWITCHYARD_TEST_PANELS !== 'true') return;
  const value = ({ value: [, text] }: PrometheusSeries) => `${Number(Number(text).toPrecision(4))}`;
  console.log(shown.map(({ where, series }) => `${where}: ${series.length} series: ${series.slice(0, 6).map(value).join(', ')}`).join('\n'));
}

afterAll(async () => {
  await prometheus?.stop();
  await fleet?.stop();
  await receiver?.stop();
});

describe('metrics', () => {
  const documented = [...readFileSync(join(import.meta.dirname, '../../docs/metrics.md'), 'utf8').matchAll(/^\| `(\w+)` \| (\w+) \|/gm)];

  it('those of docs/metrics.md are served, and no others', () => {
    const served = [...exposed.types].filter(([name]) => !/^(process|nodejs)_/.test(name)).map(([name, type]) => `${name} ${type}`);
    const listed = documented.map(([, name, type]) => `${name} ${type}`);
    expect(served.filter((metric) => !listed.includes(metric))).toEqual([]);
    expect(listed.filter((metric) => !served.includes(metric))).toEqual([]);
  });

  it('the names that dashboards of other fleets use are among them, with samples as soon as there is something to count', () => {
    const family = [
      ...['requests_total', 'request_ttft_seconds', 'request_tpot_seconds', 'scheduler_e2e_duration_seconds', 'queue_depth', 'queue_wait_seconds'],
      ...['pool_saturation', 'drops_total', 'migrations_total', 'migration_downtime_seconds', 'desired_instances', 'current_instances'],
      ...['event_loop_delay_seconds', 'stale_instances'],
    ].map((name) => `switchyard_${name}`);
    const semantic = [
      ...['request_duration_seconds', 'time_to_first_token_seconds', 'time_per_output_token_seconds'].map((name) => `gen_ai_server_${name}`),
      ...['gen_ai_client_token_usage', 'http_server_request_duration_seconds'],
    ];
    const sampled = new Set([...exposed.labels.keys()].map((sample) => metricOf(sample, exposed)));
    // Nothing is dropped here.
    expect([...family, ...semantic].filter((name) => !sampled.has(name))).toEqual(['switchyard_drops_total']);
    expect(exposed.types.get('switchyard_drops_total')).toBe('counter');
  });
});

describe('dashboards and alerts', () => {
  it('every metric and label that a query names is there', () => {
    const wrong: string[] = [];
    const labelsOf = (sample: string): Set<string> => {
      const declared = (metrics as Record<string, MetricEntry>)[metricOf(sample, exposed) ?? ''];
      const own = [...(exposed.labels.get(sample) ?? declared?.labels ?? []), 'job', 'instance', 'process'];
      return new Set(sample.endsWith('_bucket') ? [...own, 'le'] : own);
    };
    for (const { where, expr } of [...panelQueries, ...alerts.map(({ name, expr }) => ({ where: name, expr }))]) {
      const { selectors, groupings } = readPromql(filledIn(expr));
      expect(selectors.length).toBeGreaterThan(0);
      for (const { metric, labels } of selectors) {
        if (!metricOf(metric, exposed)) wrong.push(`${where}: no process exposes ${metric}`);
        else for (const label of labels) if (!labelsOf(metric).has(label)) wrong.push(`${where}: ${metric} has no label ${label}`);
      }
      for (const { labels, metrics: below } of groupings)
        for (const label of labels)
          if (!below.some((metric) => labelsOf(metric).has(label))) wrong.push(`${where}: none of ${below.join(', ')} has a label ${label}`);
    }
    expect(wrong).toEqual([]);
  });

  it('Prometheus takes every query, and every panel shows something that does not wait for a failure', async (context) => {
    if (!prometheus) return context.skip('no Prometheus on PATH');
    for (const { expr } of alerts) await prometheus.query(expr);
    expect(shown).toHaveLength(panelQueries.length);
    expect(shown.filter(({ series, mayBeEmpty }) => series.length === 0 && !mayBeEmpty).map(({ where }) => where)).toEqual([]);
    // Numbers, unless the panel divides by what may be none.
    const odd = shown.filter(({ series }) => series.some(({ value: [, text] }) => text !== 'NaN' && !Number.isFinite(Number(text))));
    expect(odd.map(({ where }) => where)).toEqual([]);
  });

  it('nobody is called while all is well, and a dead instance is told', async (context) => {
    if (!prometheus) return context.skip('no Prometheus on PATH');
    expect(falseAlarms).toEqual([]);
    const dead = alerts.find(({ name }) => name === 'SwitchyardInstanceDead')!;
    await eventually('the dead instance is seen', 10_000, async () => {
      const series = await prometheus!.query(dead.expr);
      return { ok: series.length === 1, seen: series };
    });
  });
});

describe('traces when nothing is sampled', () => {
  const spansOf = ({ traceId }: RequestRow) => receiver.spans.filter((span) => span.traceId === traceId);
  const named = (spans: readonly ReceivedSpan[], name: string) => spans.filter((span) => span.name === name);
  const told = (spans: readonly ReceivedSpan[], name: string, event: string) =>
    named(spans, name).flatMap((span) => span.events.filter((each) => each.name === event));

  async function whole(row: RequestRow, names: readonly string[]): Promise<ReceivedSpan[]> {
    await eventually(`the trace has ${names.join(', ')}`, 10_000, () => {
      const found = spansOf(row).map((span) => `${span.service.replace('switchyard-', '')} ${span.name}`);
      return { ok: names.every((name) => found.includes(name)), seen: found };
    });
    return spansOf(row);
  }

  it('a request that moved: whole, with its workflow and the reason of the move', async () => {
    const spans = await whole(requests.moved, [
      `gateway chat ${model}`,
      'gateway admit',
      'admission admit',
      'router route',
      'gateway stream',
      'agent engine.generate',
      'migration-coordinator migrate',
      'worker workflow.cutOver',
      'worker migrate.hand_over',
      'agent kv.send',
      'agent kv.receive',
    ]);
    const [migrate] = named(spans, 'migrate');
    expect(migrate!.attributes).toMatchObject({
      'switchyard.reason': 'operator',
      'switchyard.outcome': 'committed',
      'switchyard.source': requests.moved.instance,
      'switchyard.workflow.id': migrate!.attributes['switchyard.migration.id'],
    });
    expect(told(spans, `chat ${model}`, 'hand_over')[0]!.attributes).toMatchObject({
      'switchyard.migration.id': migrate!.attributes['switchyard.migration.id'],
      'switchyard.instance.id': migrate!.attributes['switchyard.target'],
    });
    expect(named(spans, 'stream').map((span) => span.attributes['switchyard.epoch'])).toEqual(['1', '2']);
    expect(named(spans, 'route')[0]!.attributes['switchyard.decision.id']).toBe(`${requests.moved.id}@1`);
    expect(told(spans, 'route', 'picked')[0]!.attributes).toMatchObject({ 'switchyard.instance.id': requests.moved.instance });
    expect(new Set(spans.map((span) => span.spanId)).size).toBe(spans.length);
  });

  it('a request that was continued: the reason, the failed stream, and both decisions', async () => {
    const spans = await whole(requests.continued, [`gateway chat ${model}`, 'router route', 'gateway stream', 'agent engine.generate']);
    const [failover] = told(spans, `chat ${model}`, 'failover');
    expect(failover!.attributes).toMatchObject({
      'switchyard.instance.id': requests.continued.instance,
      'switchyard.reason': expect.stringMatching(/./),
    });
    expect(named(spans, 'route').map((span) => span.attributes['switchyard.decision.id'])).toEqual(
      [1, 2].map((epoch) => `${requests.continued.id}@${epoch}`),
    );
    const streams = named(spans, 'stream');
    expect(streams.map((span) => span.attributes['error.type'] !== undefined)).toEqual([true, false]);
    expect(streams[0]!.attributes['switchyard.instance.id']).not.toBe(streams[1]!.attributes['switchyard.instance.id']);
  });

  it('a request that runs is shown with what has not ended', () => {
    expect(openSpans.toSorted()).toEqual([`chat ${model}`, 'engine.generate', 'stream']);
  });

  it('a request that simply went well is not exported, and shown by the operator API all the same', () => {
    expect(spansOf(requests.plain)).toEqual([]);
    expect(plainSpans).toEqual(expect.arrayContaining([`chat ${model}`, 'route', 'engine.generate']));
  });
});

describe('logs', () => {
  it('are JSON, and a line about a request carries the ids of its trace', () => {
    const entries = fleet
      .log('gateway-1')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    for (const entry of entries)
      expect(entry).toMatchObject({ level: expect.any(String), time: expect.any(String), service: 'gateway', id: 'gateway-1' });
    const failed = entries.find((entry) => entry.message === 'instance failed, request continues elsewhere');
    expect(failed).toMatchObject({
      request: requests.continued.id,
      trace_id: requests.continued.traceId,
      span_id: expect.stringMatching(/^[0-9a-f]{16}$/),
    });
    const moved = fleet
      .log('migration-coordinator-1')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .find((entry) => entry.message === 'migration ended');
    expect(moved).toMatchObject({ request: requests.moved.id, trace_id: requests.moved.traceId });
  });
});
