// Where the CPU time of a running service goes: a profile over exactly the measured load, taken through Node's inspector, which
// the services were started with (`inspectorEnv`).
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { Fleet } from '../../support/fleet.ts';
import type { PriceTable } from './report.ts';

export const inspectorEnv = { NODE_OPTIONS: '--inspect=127.0.0.1:0' };

const root = join(import.meta.dirname, '../../..');
const sampleMicros = 200;
const shownRows = 30;

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
}

export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Profiles the process while `run` runs. @throws Error when its inspector cannot be reached */
async function profileWhile(inspectorUrl: string, run: () => Promise<unknown>): Promise<CpuProfile> {
  const socket = new WebSocket(inspectorUrl);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error(`no inspector at ${inspectorUrl}`));
  });
  const waiting = new Map<number, (result: unknown) => void>();
  socket.onmessage = ({ data }) => {
    const { id, result } = JSON.parse(String(data)) as { id?: number; result?: unknown };
    if (id !== undefined) waiting.get(id)?.(result);
  };
  let last = 0;
  const call = (method: string, params: object = {}) =>
    new Promise<unknown>((resolve) => {
      const id = ++last;
      waiting.set(id, resolve);
      socket.send(JSON.stringify({ id, method, params }));
    });
  await call('Profiler.enable');
  await call('Profiler.setSamplingInterval', { interval: sampleMicros });
  await call('Profiler.start');
  await run();
  const { profile } = (await call('Profiler.stop')) as { profile: CpuProfile };
  socket.close();
  return profile;
}

/** Folder of ours, package, or part of Node that a frame belongs to. */
function ownerOf({ functionName, url }: ProfileNode['callFrame']): string {
  if (url === '') return functionName.startsWith('(') ? functionName : 'node (native)';
  if (url.startsWith('node:')) return url.split('/').slice(0, 3).join('/');
  const path = relative(root, url.replace('file://', ''));
  const inPackage = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path);
  return inPackage ? inPackage[1]! : path.split('/').slice(0, 3).join('/');
}

/** Self time, µs, of everything but idling, largest first. */
export function selfTimes(profile: CpuProfile, nameOf: (frame: ProfileNode['callFrame']) => string): [name: string, micros: number][] {
  const frames = new Map(profile.nodes.map((node) => [node.id, node.callFrame]));
  const times = new Map<string, number>();
  profile.samples.forEach((id, index) => {
    const frame = frames.get(id);
    if (!frame || frame.functionName === '(idle)') return;
    const name = nameOf(frame);
    times.set(name, (times.get(name) ?? 0) + (profile.timeDeltas[index] ?? 0));
  });
  return [...times].toSorted((a, b) => b[1] - a[1]);
}

function rowsOf(title: string, times: readonly [string, number][], count: number): PriceTable {
  const all = times.reduce((sum, [, micros]) => sum + micros, 0);
  return {
    title,
    columns: ['self time', 'µs', '%'],
    rows: times.slice(0, shownRows).map(([name, micros]) => [name, micros / count, (100 * micros) / all]),
    notes: ['The profiler itself costs some; shares are more telling than times.'],
  };
}

/** A profile of one process over `run`, kept in `folder`; tables of its self time per unit of `count`, by owner and by function. */
export async function profiled(
  fleet: Fleet,
  id: string,
  options: { folder: string; name: string; count: number },
  run: () => Promise<unknown>,
): Promise<PriceTable[]> {
  const url = /ws:\/\/127\.0\.0\.1:\d+\/[\w-]+/.exec(fleet.log(id))?.[0];
  if (!url) throw new Error(`${id} was not started with an inspector`);
  const profile = await profileWhile(url, run);
  mkdirSync(options.folder, { recursive: true });
  writeFileSync(join(options.folder, `${options.name}-${id}.cpuprofile`), JSON.stringify(profile));
  const functionOf = (frame: ProfileNode['callFrame']) =>
    `${frame.functionName || '(anonymous)'} ${ownerOf(frame) === frame.functionName ? '' : `${frame.url.split('/').slice(-2).join('/')}:${frame.lineNumber + 1}`}`.trim();
  return [
    rowsOf(`${options.name}: ${id} by owner`, selfTimes(profile, ownerOf), options.count),
    rowsOf(`${options.name}: ${id} by function`, selfTimes(profile, functionOf), options.count),
  ];
}
