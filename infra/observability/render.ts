// Makes files of dashboards.ts and alerts.ts: Grafana dashboards, Prometheus rules and scrape settings, docs/alerts.md.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { type Alert, alerts } from './alerts.ts';
import { dashboards } from './dashboards.ts';
import type { Dashboard, Panel } from './panel.ts';

const root = join(import.meta.dirname, '../..');
const folder = 'infra/observability';
const source = { type: 'prometheus', uid: 'prometheus' };
const graphWidth = 12;
const graphHeight = 8;
const numberWidth = 4;
const numberHeight = 4;
const gridWidth = 24;

function panelJson(panel: Panel, id: number, gridPos: object): object {
  const graph = panel.kind === 'graph';
  const colors = ['green', 'yellow', 'red'];
  const steps = [null, ...(panel.thresholds ?? [])].map((value, index) => ({ value, color: colors[index] }));
  return {
    id,
    title: panel.title,
    description: panel.about,
    type: graph ? 'timeseries' : 'stat',
    gridPos,
    datasource: source,
    targets: panel.queries.map(({ expr, legend }, index) => ({
      refId: String.fromCharCode(65 + index),
      datasource: source,
      expr,
      legendFormat: legend === '' ? panel.title : legend,
      ...(graph ? {} : { instant: true }),
    })),
    fieldConfig: {
      defaults: {
        unit: panel.unit,
        ...(panel.unit === 'percentunit' ? {} : { min: 0 }),
        ...(graph ? { custom: { lineWidth: 1, fillOpacity: 8, showPoints: 'never' } } : { thresholds: { mode: 'absolute', steps } }),
        ...(panel.mayBeEmpty ? { noValue: 'none' } : {}),
      },
      overrides: [],
    },
    options: graph
      ? { legend: { displayMode: 'table', placement: 'right', calcs: ['lastNotNull', 'max'] }, tooltip: { mode: 'multi', sort: 'desc' } }
      : { colorMode: panel.thresholds ? 'value' : 'none', reduceOptions: { calcs: ['lastNotNull'] } },
  };
}

/** Rows below each other; within a row from left to right, as many as fit. */
function panelsJson(dashboard: Dashboard): object[] {
  const panels: object[] = [];
  let y = 0;
  for (const row of dashboard.rows) {
    panels.push({ id: panels.length + 1, type: 'row', title: row.title, collapsed: false, gridPos: { x: 0, y, w: gridWidth, h: 1 }, panels: [] });
    y += 1;
    let x = 0;
    let lineHeight = 0;
    for (const panel of row.panels) {
      const [w, h] = panel.kind === 'graph' ? [graphWidth, graphHeight] : [numberWidth, numberHeight];
      if (x + w > gridWidth) {
        x = 0;
        y += lineHeight;
        lineHeight = 0;
      }
      panels.push(panelJson(panel, panels.length + 1, { x, y, w, h }));
      x += w;
      lineHeight = Math.max(lineHeight, h);
    }
    y += lineHeight;
  }
  return panels;
}

function dashboardJson(dashboard: Dashboard): string {
  const poolVariable = {
    name: 'pool',
    label: 'Pool',
    type: 'query',
    datasource: source,
    query: { query: 'label_values(switchyard_queue_depth, pool)', refId: 'pool' },
    definition: 'label_values(switchyard_queue_depth, pool)',
    refresh: 2,
    sort: 1,
    multi: true,
    includeAll: true,
    allValue: '.*',
    current: { text: 'All', value: '$__all' },
  };
  const links = dashboards
    .filter(({ id }) => id !== dashboard.id)
    .map(({ id, title }) => ({ title: title.replace('Switchyard: ', ''), type: 'link', url: `/d/${id}`, keepTime: true, includeVars: true }));
  return `${JSON.stringify(
    {
      uid: dashboard.id,
      title: dashboard.title,
      description: dashboard.about,
      tags: ['switchyard'],
      schemaVersion: 39,
      version: 1,
      editable: false,
      refresh: '10s',
      time: { from: 'now-30m', to: 'now' },
      templating: { list: [poolVariable] },
      annotations: { list: [] },
      links,
      panels: panelsJson(dashboard),
    },
    null,
    1,
  )}\n`;
}

const madeBy = (what: string) => `# Made from ${what} by \`npm run docs\`: change it there.\n`;

/** Where the probes of every container listen (SWITCHYARD_PROBE_PORT in docker-compose.yml). */
const probePort = 9464;

/** The names under which compose runs our processes. */
function composeServices(): string[] {
  const compose = parse(readFileSync(join(root, 'docker-compose.yml'), 'utf8'), { merge: true, maxAliasCount: -1 }) as {
    services: Record<string, { command?: string[] }>;
  };
  return Object.entries(compose.services).flatMap(([name, { command = [] }]) =>
    command.some((word) => /^services\/[\w-]+\/main\.ts$/.test(word)) ? [name] : [],
  );
}

function prometheusYaml(discovery: object): string {
  return (
    madeBy(`${folder}/render.ts`) +
    stringify({
      global: { scrape_interval: '5s', evaluation_interval: '5s' },
      rule_files: ['alerts.yaml'],
      scrape_configs: [{ job_name: 'switchyard', ...discovery }],
    })
  );
}

/** Every container of a service is found by its name, however many there are. */
const inContainers = () => ({ dns_sd_configs: [{ names: composeServices(), type: 'A', port: probePort, refresh_interval: '10s' }] });
/** Without containers the operator API lists the processes: their probes take free ports. */
const onOneMachine = { http_sd_configs: [{ url: 'http://127.0.0.1:8090/operator/v1/scrape-targets', refresh_interval: '10s' }] };

function rulesYaml(): string {
  const rule = ({ name, expr, holds, severity, summary, whatToDo }: Alert) => ({
    alert: name,
    expr,
    for: holds,
    labels: { severity },
    annotations: { summary, description: whatToDo },
  });
  return madeBy(`${folder}/alerts.ts`) + stringify({ groups: [{ name: 'switchyard', rules: alerts.map(rule) }] }, { lineWidth: 0 });
}

const cell = (text: string) => text.replaceAll('|', '\\|');

function alertsPage(): string {
  const rows = alerts.map(
    ({ name, severity, holds, summary, expr, whatToDo }) =>
      `| ${name} | ${severity} | ${cell(
        summary
          .replaceAll(/\{\{ \$(?:labels\.)?(\w+)[^}]*\}\}/g, '<$1>')
          .replaceAll('<', '‹')
          .replaceAll('>', '›'),
      )} | \`${cell(expr)}\` for ${holds} | ${cell(whatToDo)} |`,
  );
  return [
    '# Alerts',
    '',
    `Made by \`npm run docs\` from \`${folder}/alerts.ts\`. A page means that clients notice, now; a ticket that somebody should look today.`,
    '',
    '| alert | severity | says | when | what to do |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n');
}

/** Every generated file with its text. */
export function observabilityFiles(): [path: string, text: string][] {
  return [
    ...dashboards.map((dashboard): [string, string] => [`${folder}/grafana/dashboards/${dashboard.id}.json`, dashboardJson(dashboard)]),
    [`${folder}/prometheus/prometheus.yaml`, prometheusYaml(inContainers())],
    [`${folder}/prometheus/prometheus.local.yaml`, prometheusYaml(onOneMachine)],
    [`${folder}/prometheus/alerts.yaml`, rulesYaml()],
    ['docs/alerts.md', alertsPage()],
  ];
}
