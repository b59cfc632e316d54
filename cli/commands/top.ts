// top: the live fleet in a terminal.
import { setTimeout as pause } from 'node:timers/promises';
import { type Command, InvalidArgumentError } from 'commander';
import pc from 'picocolors';
import type { InstanceRow, MigrationsReport, RequestRow, StatusReport } from '../../lib/operator/types.ts';
import type { OperatorClient } from '../client.ts';
import { duration, say } from '../output.ts';
import { type FleetPicture, fleetPicture } from '../top/fleet-picture.ts';
import { frame } from '../top/frame.ts';
import { openScreen } from '../top/screen.ts';
import { type Context, type ContextOf, examples, present } from './context.ts';

interface TopOptions {
  readonly interval: number;
  readonly once?: boolean;
}

/** For a single frame: long enough for a rate, short enough to wait for. */
const betweenLooksMs = 500;
/** A frame that goes to a file or a pipe. */
const plainSize = { columns: 80, rows: 1_000 };

function interval(text: string): number {
  const value = Number(text);
  if (!(value >= 0.2 && value <= 60)) throw new InvalidArgumentError('seconds, 0.2 to 60');
  return value * 1000;
}

const nobodyMoves: MigrationsReport = { active: [], recent: [], committed: 0, aborted: 0, heldBack: 0 };

async function look(client: OperatorClient, before: FleetPicture | undefined): Promise<FleetPicture> {
  const [status, instances, requests, migrations] = await Promise.all([
    client.get<StatusReport>('/status'),
    // Without a tracker or a coordinator the rest is still worth showing; the status names who is missing.
    client.get<InstanceRow[]>('/instances').catch(() => []),
    client.get<RequestRow[]>('/requests'),
    client.get<MigrationsReport>('/migrations').catch(() => nobodyMoves),
  ]);
  return fleetPicture({ status, instances, requests, migrations }, before, Date.now());
}

async function showOnce(context: Context): Promise<void> {
  const first = await look(context.client, undefined);
  await pause(betweenLooksMs);
  const picture = await look(context.client, first);
  const size = process.stdout.isTTY ? { columns: process.stdout.columns || plainSize.columns, rows: plainSize.rows } : plainSize;
  present(context, picture, () => say(frame(picture, { ...size, color: pc.isColorSupported }).join('\n')));
}

async function watch(context: Context, everyMs: number): Promise<void> {
  let picture = await look(context.client, undefined);
  let problem = '';
  const screen = openScreen(process.stdin, process.stdout, draw);
  function draw(): void {
    const size = { columns: screen.columns, rows: screen.rows - 1, color: pc.isColorSupported };
    const foot =
      problem === '' ? pc.dim('q leaves') : pc.red(`${problem}; this is ${duration(Date.now() - picture.atMs)} old`.slice(0, screen.columns));
    screen.draw([...frame(picture, size), foot]);
  }
  const leaving = new AbortController();
  void screen.left.then(() => leaving.abort());
  try {
    for (;;) {
      draw();
      await pause(everyMs, undefined, { signal: leaving.signal }).catch(() => {});
      if (leaving.signal.aborted) return;
      try {
        picture = await look(context.client, picture);
        problem = '';
      } catch (thrown) {
        problem = thrown instanceof Error ? thrown.message : String(thrown);
      }
    }
  } finally {
    screen.close();
  }
}

export function addTopCommand(program: Command, contextOf: ContextOf): void {
  program
    .command('top')
    .description('the live fleet: pools, instances, KV, moves and throughput')
    .option('--interval <seconds>', 'between two looks', interval, 1000)
    .option('--once', 'print one frame and end, for scripts; also without a terminal')
    .addHelpText('after', examples('top', 'top --interval 0.5', 'top --once', '--json top --once'))
    .action(async (options: TopOptions) => {
      const context = contextOf();
      if (options.once || context.json || !process.stdout.isTTY || !process.stdin.isTTY) await showOnce(context);
      else await watch(context, options.interval);
    });
}
