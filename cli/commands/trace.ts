// trace: a request's journey as a tree with times, across processes.
import type { Command } from 'commander';
import colors from 'picocolors';
import type { Journey, SpanRow } from '../../lib/operator/types.ts';
import { say } from '../output.ts';
import { aboutRequest, type ContextOf, path, present, requestId } from './context.ts';

const barWidth = 24;
/** What a line of the tree says of its span, and under which word. */
const shownAttributes: readonly (readonly [attribute: string, word: string])[] = [
  ['switchyard.instance.id', 'instance'],
  ['switchyard.source', 'source'],
  ['switchyard.target', 'target'],
  ['switchyard.reason', 'reason'],
  ['switchyard.outcome', 'outcome'],
  ['switchyard.stage', 'stage'],
  ['switchyard.queue.wait_ms', 'waited_ms'],
  ['switchyard.downtime_ms', 'downtime_ms'],
  ['switchyard.workflow.id', 'workflow'],
  ['switchyard.decision.id', 'decision'],
  ['error.type', 'error'],
];

interface Node {
  readonly span: SpanRow;
  readonly children: Node[];
}

/** Spans as trees, earliest first; a span whose parent is unknown (the client's, say) is a root. */
function spanForest(spans: readonly SpanRow[]): Node[] {
  const nodes = new Map(spans.map((span) => [span.spanId, { span, children: [] } as Node]));
  const roots: Node[] = [];
  for (const node of nodes.values()) (nodes.get(node.span.parentSpanId)?.children ?? roots).push(node);
  const byStart = (a: Node, b: Node) => a.span.startMs - b.span.startMs;
  for (const node of nodes.values()) node.children.sort(byStart);
  return roots.sort(byStart);
}

function bar(span: SpanRow, fromMs: number, totalMs: number): string {
  const scale = barWidth / Math.max(totalMs, 1e-3);
  const begin = Math.min(barWidth - 1, Math.floor((span.startMs - fromMs) * scale));
  const length = Math.max(1, Math.min(barWidth - begin, Math.round((span.endMs - span.startMs) * scale)));
  return `${' '.repeat(begin)}${(span.open ? '╍' : '━').repeat(length)}`.padEnd(barWidth);
}

function facts(span: SpanRow): string {
  const shown = shownAttributes.flatMap(([name, word]) => {
    const value = span.attributes[name];
    return value === undefined ? [] : `${word}=${typeof value === 'number' ? Math.round(value * 10) / 10 : String(value)}`;
  });
  return [...shown, ...span.events.map((event) => `· ${event}`)].join(' ');
}

export function journeyLines(journey: Journey): string[] {
  const { spans } = journey;
  const lines: string[] = [];
  const fromMs = Math.min(...spans.map((span) => span.startMs));
  const totalMs = Math.max(...spans.map((span) => span.endMs)) - fromMs;
  const processes = new Set(spans.map((span) => span.process)).size;
  const soFar = spans.some((span) => span.open) ? ' so far' : '';
  lines.push(`trace ${journey.traceIds.join(', ')}: ${spans.length} spans in ${processes} processes, ${totalMs.toFixed(1)} ms${soFar}`);
  const line = (node: Node, indent: string, branch: string) => {
    const { span } = node;
    const name = span.failed ? colors.red(span.name) : colors.bold(span.name);
    const times = `${(span.startMs - fromMs).toFixed(1).padStart(9)} ms ${(span.endMs - span.startMs).toFixed(1).padStart(9)} ms`;
    const open = span.open ? colors.yellow('still open ') : '';
    lines.push(`${times}  ${colors.cyan(bar(span, fromMs, totalMs))}  ${indent}${branch}${name} ${colors.dim(span.process)} ${open}${facts(span)}`);
    node.children.forEach((child, index) => {
      const last = index === node.children.length - 1;
      line(child, indent + (branch === '' ? '' : branch.startsWith('└') ? '  ' : '│ '), last ? '└ ' : '├ ');
    });
  };
  lines.push(`${'starts'.padStart(12)} ${'takes'.padStart(12)}`);
  for (const root of spanForest(spans)) line(root, '', '');
  return lines;
}

export function addTraceCommand(program: Command, contextOf: ContextOf): void {
  program
    .command('trace')
    .argument('<request>', aboutRequest)
    .description("a request's journey as a tree with times, across processes")
    .action(async (request: string) => {
      const context = contextOf();
      present(context, await context.client.get<Journey>(path('trace', requestId(request))), (journey) => {
        for (const line of journeyLines(journey)) say(line);
      });
    });
}
