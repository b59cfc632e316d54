// `npm run test:vllm`: two real vLLM servers on CPUs behind a real Switchyard (gateway, router, agents, NATS, Redis, Temporal), what
// engines of that kind are to do there, and a table of it. Needs Python 3.11 on Linux x64, 11 GB of disk, 9 GB of memory; the first
// time it fetches vLLM, which takes some minutes.
//
//   npm run test:vllm                         everything
//   npm run test:vllm -- --only "NIXL|KV"     checks whose name matches
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { createProgress } from '../../infra/setup/progress.ts';
import { provideAll } from '../../infra/setup/provide.ts';
import { provideVllm, VllmError } from '../../infra/setup/vllm.ts';
import { startFleet } from '../support/fleet.ts';
import { type Check, checks, type World } from './checks.ts';
import { writeTinyModel } from './tiny-model.ts';
import { startVllm, type VllmServer } from './vllm-server.ts';

interface Row {
  readonly name: string;
  readonly held: boolean;
  readonly note: string;
  readonly seconds: number;
}

const { values } = parseArgs({ options: { only: { type: 'string' } } });
const wanted = checks.filter(({ name }) => values.only === undefined || new RegExp(values.only).test(name));

async function begin(folder: string): Promise<World> {
  const progress = createProgress();
  try {
    const programs = await provideAll(['nats-server', 'redis-server', 'temporal'], { progress });
    process.env.PATH = [...programs.map(({ path }) => dirname(path)), process.env.PATH].join(delimiter);
    const vllm = await provideVllm(progress);
    const model = join(folder, 'model');
    writeTinyModel(model);
    const step = progress.step('two servers', 'starting vLLM twice, a minute or two');
    const servers = await Promise.all(['a', 'b'].map((name) => startVllm(vllm, { name, model, folder: join(folder, 'logs') })));
    step.done(servers.map(({ url }) => url).join(', '));
    const fleetStep = progress.step('Switchyard', 'starting');
    const fleet = await startFleet(fleetOptions(servers));
    fleetStep.done(fleet.gatewayUrl);
    return { fleet, servers: servers as [VllmServer, VllmServer], byRole: () => startFleet(fleetOptions(servers, ['prefill', 'decode'])) };
  } finally {
    progress.close();
  }
}

function fleetOptions(servers: readonly VllmServer[], roles: readonly string[] = []): Parameters<typeof startFleet>[0] {
  return {
    pools: [
      {
        ...{ id: 'chat', models: ['tiny'], engine: 'openai', instances: servers.length, max: servers.length },
        openai: {
          servers: servers.map(({ url, kvEvents, kvReplay }, index) => ({ url, kvEvents, kvReplay, ...(roles[index] && { role: roles[index] }) })),
          pollMs: 200,
        },
      },
    ],
    // Moves only when it is asked for; nobody is given up because the machine is busy.
    settings: {
      'migration-coordinator': { mode: 'off', pauseLeaseMs: 10_000 },
      router: { profile: { disaggregateFromTokens: 32 } },
      gateway: { stallMs: 60_000, firstTokenMs: 120_000 },
    },
  };
}

async function carryOut(check: Check, world: World): Promise<Row> {
  const beganMs = performance.now();
  const seconds = () => Math.round((performance.now() - beganMs) / 100) / 10;
  try {
    const note = await check.run(world);
    return { name: check.name, held: true, note, seconds: seconds() };
  } catch (thrown) {
    return { name: check.name, held: false, note: thrown instanceof Error ? thrown.message : String(thrown), seconds: seconds() };
  }
}

function tableOf(rows: readonly Row[]): string {
  const table = new Table({ head: ['check', 'held', 's', 'seen'], colWidths: [28, 6, 8, 100], wordWrap: true, style: { head: [], border: [] } });
  for (const { name, held, seconds, note } of rows) table.push([name, held ? 'yes' : 'NO', seconds, note]);
  return table.toString();
}

const folder = mkdtempSync(join(tmpdir(), 'switchyard-vllm-'));
const rows: Row[] = [];
try {
  const world = await begin(folder);
  for (const check of wanted) {
    const row = await carryOut(check, world);
    rows.push(row);
    process.stderr.write(`  ${row.held ? 'held' : 'DID NOT HOLD'}  ${row.name}, ${row.seconds} s: ${row.note.slice(0, 300)}\n`);
  }
  await world.fleet.stop();
  await Promise.all(world.servers.map((server) => server.kill()));
} catch (thrown) {
  process.stderr.write(`\n${thrown instanceof VllmError ? thrown.message : String((thrown as Error).stack)}\n`);
} finally {
  if (process.env.SWITCHYARD_TEST_KEEP !== 'true') rmSync(folder, { recursive: true, force: true });
}
const failed = rows.filter(({ held }) => !held).length + (rows.length === wanted.length ? 0 : 1);
process.stdout.write(`\n${tableOf(rows)}\n${rows.filter(({ held }) => held).length} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
