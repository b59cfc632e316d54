// One frame of `switchyard top` as lines of text. Pure: a picture and the size of the terminal give the lines, none wider
// than the terminal and no more of them than it has rows.
import { createColors } from 'picocolors';
import { duration } from '../output.ts';
import type { FleetPicture, InstancePicture, PoolPicture } from './fleet-picture.ts';

export interface FrameSize {
  readonly columns: number;
  readonly rows: number;
  readonly color: boolean;
}

type Colors = ReturnType<typeof createColors>;
type Paint = (text: string) => string;

interface Column<Row> {
  readonly title: string;
  readonly width: number;
  readonly right?: boolean;
  readonly text: (row: Row) => string;
  readonly paint?: (row: Row) => Paint;
}

export const leastColumns = 60;
/** Requests are listed below the rest as far as there is room. */
const mostRequests = 20;
const gap = '  ';

export function frame(picture: FleetPicture, size: FrameSize): string[] {
  const columns = Math.max(leastColumns, size.columns);
  const paint = createColors(size.color);
  const head = headLines(picture, columns, paint);
  const pools = table(picture.pools, poolColumns(columns, paint), columns, paint);
  const moving = picture.moving.length === 0 ? [] : ['', ...table(picture.moving, movingColumns(picture, columns), columns, paint)];
  const room = Math.max(3, size.rows - head.length - pools.length - 3);
  const instances = asFit(
    picture.instances,
    Math.max(2, room - Math.min(moving.length, Math.floor(room / 3))),
    instanceColumns(columns, paint),
    columns,
    paint,
  );
  const lines = [
    ...head,
    '',
    ...pools,
    '',
    ...instances,
    ...moving.slice(0, Math.max(0, size.rows - head.length - pools.length - instances.length - 2)),
  ];
  const left = size.rows - lines.length - 2;
  if (left > 0 && picture.requests.length > 0)
    lines.push('', ...table(picture.requests.slice(0, Math.min(left, mostRequests)), requestColumns(columns), columns, paint));
  return lines.slice(0, size.rows);
}

function headLines(picture: FleetPicture, columns: number, paint: Colors): string[] {
  const { instances, troubles } = picture;
  const healthy = instances.filter((row) => row.health === 'healthy').length;
  const time = new Date(picture.atMs).toISOString().slice(11, 19);
  const counts = healthy === instances.length ? `${healthy} instances` : `${healthy} of ${instances.length} instances healthy`;
  const spark = sparkline(picture.history, Math.min(40, columns - 58));
  const load = `${picture.running} running${gap}${picture.queued} queued${gap}${rate(picture.tokensPerS)} tokens/s`;
  const moves = `${picture.moving.length} moving${gap}${picture.committed} moved${gap}${picture.aborted} aborted${gap}${picture.heldBack} held back`;
  return [
    `${paint.bold('switchyard')}${gap}${healthy === instances.length ? counts : paint.yellow(counts)}${gap}${paint.dim(`${time} UTC`)}`,
    `requests${gap}  ${spark === '' ? cut(load, 44) : `${cut(load, 44).padEnd(44)}${gap}${paint.cyan(spark)}`}`,
    `migrations${gap}${cut(moves, columns - 12)}`,
    ...troubles.slice(0, 3).map((trouble) => paint.yellow(cut(`! ${trouble}`, columns))),
    ...(troubles.length > 3 ? [paint.yellow(`! and ${troubles.length - 3} more: switchyard status`)] : []),
  ];
}

function poolColumns(columns: number, paint: Colors): Column<PoolPicture>[] {
  return [
    { title: 'POOL', width: 10, text: (row) => row.pool },
    { title: 'MODEL', width: Math.max(12, Math.min(30, columns - 64)), text: (row) => row.model },
    { title: 'NOW', width: 4, right: true, text: (row) => String(row.instances) },
    {
      title: 'WANT',
      width: 4,
      right: true,
      text: (row) => String(row.wanted),
      paint: (row) => (row.wanted === row.instances ? plain : paint.yellow),
    },
    { title: 'RUN', width: 5, right: true, text: (row) => String(row.running) },
    { title: 'QUEUE', width: 5, right: true, text: (row) => String(row.queued), paint: (row) => (row.queued > 0 ? paint.yellow : plain) },
    { title: 'KV', width: 5, right: true, text: (row) => percent(row.kvUsage), paint: (row) => kvPaint(row.kvUsage, paint) },
    { title: 'TOK/S', width: 7, right: true, text: (row) => rate(row.tokensPerS) },
    { title: 'SCALING', width: 8, text: (row) => row.scaling },
  ];
}

function instanceColumns(columns: number, paint: Colors): Column<InstancePicture>[] {
  const barWidth = Math.max(6, Math.min(40, columns - 66));
  return [
    { title: 'INSTANCE', width: 14, text: (row) => row.id },
    { title: 'HEALTH', width: 9, text: health, paint: (row) => healthPaint(row, paint) },
    { title: 'RUN', width: 4, right: true, text: (row) => String(row.running) },
    { title: 'WAIT', width: 4, right: true, text: (row) => String(row.queued), paint: (row) => (row.queued > 0 ? paint.yellow : plain) },
    { title: 'KV', width: barWidth, text: (row) => bar(row.kvUsage, barWidth), paint: (row) => kvPaint(row.kvUsage, paint) },
    { title: '', width: 5, right: true, text: (row) => percent(row.kvUsage), paint: (row) => kvPaint(row.kvUsage, paint) },
    { title: 'TOK/S', width: 7, right: true, text: (row) => rate(row.tokensPerS) },
    { title: 'STEP', width: 8, right: true, text: (row) => `${row.stepMs.toFixed(1)} ms` },
  ];
}

function movingColumns({ atMs }: FleetPicture, columns: number): Column<FleetPicture['moving'][number]>[] {
  return [
    { title: 'MOVING', width: Math.max(14, Math.min(24, columns - 54)), text: (plan) => plan.requestId },
    { title: 'SOURCE', width: 12, text: (plan) => plan.sourceInstanceId },
    { title: 'TARGET', width: 12, text: (plan) => plan.targetInstanceId },
    { title: 'REASON', width: 13, text: (plan) => plan.reason },
    { title: 'FOR', width: 8, right: true, text: (plan) => duration(Math.max(0, atMs - plan.plannedAtMs)) },
  ];
}

function requestColumns(columns: number): Column<FleetPicture['requests'][number]>[] {
  return [
    { title: 'REQUEST', width: Math.max(16, Math.min(26, columns - 56)), text: (row) => row.id },
    { title: 'STATE', width: 10, text: (row) => row.state },
    { title: 'INSTANCE', width: 12, text: (row) => row.instance || '-' },
    { title: 'TOKENS', width: 6, right: true, text: (row) => String(row.tokens) },
    { title: 'AGE', width: 11, right: true, text: (row) => duration(row.ageMs) },
    { title: 'MOVES', width: 5, right: true, text: (row) => String(row.migrations + row.failovers) },
  ];
}

/** All rows where they fit into `lines`; otherwise those that need a look first, and how many are left out. */
function asFit(
  rows: readonly InstancePicture[],
  lines: number,
  columnsOf: readonly Column<InstancePicture>[],
  columns: number,
  paint: Colors,
): string[] {
  if (rows.length + 1 <= lines) return table(rows, columnsOf, columns, paint);
  const urgency = (row: InstancePicture) => (row.health === 'healthy' ? 0 : 2) + (row.cordoned || row.setAside !== '' ? 1 : 0) + row.kvUsage;
  const shown = rows.toSorted((a, b) => urgency(b) - urgency(a)).slice(0, Math.max(1, lines - 2));
  return [...table(shown, columnsOf, columns, paint), paint.dim(`and ${rows.length - shown.length} with less to do`)];
}

function table<Row>(rows: readonly Row[], columnsOf: readonly Column<Row>[], columns: number, paint: Colors): string[] {
  const line = (cells: readonly string[]) => cells.join(gap).trimEnd();
  const place = (text: string, { width, right }: Column<Row>) => {
    const short = cut(text, width);
    return right ? short.padStart(width) : short.padEnd(width);
  };
  const fitting: Column<Row>[] = [];
  let used = 0;
  for (const column of columnsOf) {
    used += column.width + (fitting.length > 0 ? gap.length : 0);
    if (used > columns) break;
    fitting.push(column);
  }
  return [
    paint.dim(line(fitting.map((column) => place(column.title, column)))),
    ...rows.map((row) => line(fitting.map((column) => (column.paint?.(row) ?? plain)(place(column.text(row), column))))),
  ];
}

const plain: Paint = (text) => text;

function health(row: InstancePicture): string {
  if (row.health !== 'healthy') return row.health;
  if (row.cordoned) return 'cordoned';
  if (row.setAside !== '') return 'set aside';
  return row.stale ? 'stale' : 'healthy';
}

function healthPaint(row: InstancePicture, paint: Colors): Paint {
  const word = health(row);
  if (word === 'healthy') return paint.green;
  return word === 'dead' ? paint.red : paint.yellow;
}

function kvPaint(usage: number, paint: Colors): Paint {
  if (usage >= 0.95) return paint.red;
  return usage >= 0.8 ? paint.yellow : paint.green;
}

/** Eighths of a character, so that a bar of ten shows steps of about one percent. */
function bar(share: number, width: number): string {
  const eighths = Math.round(Math.max(0, Math.min(1, share)) * width * 8);
  const whole = '█'.repeat(Math.floor(eighths / 8)) + ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8];
  return whole.padEnd(width, '·');
}

function sparkline(values: readonly number[], width: number): string {
  const shown = values.slice(-Math.max(0, width));
  const most = Math.max(...shown, 1);
  return shown.map((value) => '▁▂▃▄▅▆▇█'[Math.min(7, Math.floor((value / most) * 8))]).join('');
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

function rate(perS: number | undefined): string {
  if (perS === undefined) return '-';
  if (perS >= 99_950) return `${(perS / 1000).toFixed(0)}k`;
  return perS >= 9_995 ? `${(perS / 1000).toFixed(1)}k` : perS.toFixed(0);
}

function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}
