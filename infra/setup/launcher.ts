// Which instances there shall be on this machine: decides about the commands to start and stop one, and what is kept
// between starts. Pure; serve-launcher.ts does it.
import { refusal } from '../../core/errors/switchyard-error.ts';
import type { FleetConfig } from '../../lib/config/fleet.ts';
import type { Refusal } from '../../proto/gen/messages.ts';
import { instanceIds } from './seats.ts';

export interface Instance {
  readonly id: string;
  readonly pool: string;
}

export interface LauncherState {
  /** Sorted by id. */
  readonly instances: readonly Instance[];
  /** The newest epoch of a pool's owner that has commanded. */
  readonly epochs: Readonly<Record<string, number>>;
}

export interface LaunchCommand {
  readonly pool: string;
  readonly instanceId: string;
  readonly epoch: number;
}

export type LaunchDecision =
  | { readonly refusal: Refusal }
  | { readonly refusal?: undefined; readonly state: LauncherState; readonly start?: Instance; readonly stop?: Instance };

/** More than this would not be a laptop's fleet: refused with out_of_range. */
export const maxInstances = 64;
const idPattern = /^[a-z0-9][a-z0-9-]{0,60}$/;

/** The first start follows fleet.yaml; later ones what scaling has made of it. Pools that are new in fleet.yaml join, missing ones go. */
export function initialState(fleet: FleetConfig, kept: LauncherState | undefined): LauncherState {
  const instances = fleet.pools.flatMap((pool) => {
    // Servers that run already are those of the file, whatever ran before.
    const known =
      kept !== undefined && pool.id in kept.epochs && pool.engine !== 'openai' ? kept.instances.filter((one) => one.pool === pool.id) : undefined;
    return known ?? instanceIds(pool).map((id) => ({ id, pool: pool.id }));
  });
  const epochs = Object.fromEntries(fleet.pools.map((pool) => [pool.id, kept?.epochs[pool.id] ?? 0]));
  return { instances: sorted(instances), epochs };
}

/** Idempotent: starting what runs is done already. */
export function decideStart(state: LauncherState, command: LaunchCommand): LaunchDecision {
  const refused = refuse(state, command);
  if (refused) return { refusal: refused };
  const next = { ...state, epochs: { ...state.epochs, [command.pool]: command.epoch } };
  const running = state.instances.find((one) => one.id === command.instanceId);
  if (running && running.pool !== command.pool) {
    return { refusal: refusal('invalid_request', `${command.instanceId} is an instance of the pool ${running.pool}`) };
  }
  if (running) return { state: next };
  if (state.instances.length >= maxInstances) return { refusal: refusal('out_of_range', `this launcher runs at most ${maxInstances} instances`) };
  const start = { id: command.instanceId, pool: command.pool };
  return { state: { ...next, instances: sorted([...state.instances, start]) }, start };
}

/** Idempotent: stopping what does not run is done already. */
export function decideStop(state: LauncherState, command: LaunchCommand): LaunchDecision {
  const refused = refuse(state, command);
  if (refused) return { refusal: refused };
  const next = { ...state, epochs: { ...state.epochs, [command.pool]: command.epoch } };
  const stop = state.instances.find((one) => one.id === command.instanceId);
  if (!stop) return { state: next };
  return { state: { ...next, instances: state.instances.filter((one) => one !== stop) }, stop };
}

function refuse(state: LauncherState, command: LaunchCommand): Refusal | undefined {
  const newest = state.epochs[command.pool];
  if (newest === undefined) return refusal('unknown_pool', `there is no pool ${command.pool} in fleet.yaml`);
  if (command.epoch < newest) return refusal('stale_epoch', `epoch ${command.epoch} of ${command.pool} has been followed by ${newest}`);
  if (!idPattern.test(command.instanceId)) return refusal('invalid_request', 'an instance id has lower-case letters, digits and dashes only');
  return undefined;
}

function sorted(instances: readonly Instance[]): Instance[] {
  return instances.toSorted((a, b) => (a.id < b.id ? -1 : 1));
}
