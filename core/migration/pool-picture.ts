// The instances of one pool while a round of moves is planned: each planned move changes the picture that the next one
// is planned from, so that a round never overcommits what it has given away already.
import type { InstanceStatus, SequenceStatus } from '../../proto/gen/messages.ts';
import type { KnownInstance } from '../tracking/fleet-view.ts';
import { defragFreenessSteps, dispatchFreenessSteps } from '../tracking/freeness.ts';
import type { MoveCost } from './cost.ts';
import { type ActiveMove, headroomOf, type PlanningLimits, type PlanningView } from './planning.ts';

export interface PlannedInstance {
  readonly id: string;
  readonly instance: KnownInstance;
  /** The report as if active and planned moves were over. */
  readonly status: InstanceStatus;
  /** Of sequences on their way out: theirs until the commit, so no room for others yet. */
  readonly leavingBlocks: number;
  readonly leavingSequences: number;
  /** Migrations in and out that run or are planned. */
  readonly moves: number;
}

export interface PoolPicture {
  readonly pool: string;
  /** Sorted by id. */
  readonly instances: readonly PlannedInstance[];
  /** Requests that move already, have just moved, or were chosen in this round. */
  readonly moving: ReadonlySet<string>;
  /** Migrations of the whole fleet that run or are planned. */
  readonly active: number;
}

/** One picture per pool, sorted by pool. */
export function picturesOf(view: PlanningView): PoolPicture[] {
  const onTheWay = [...view.active, ...unreported(view)];
  const moving = new Set(onTheWay.map((move) => move.requestId));
  const pools = [...new Set(view.instances.map((instance) => instance.status.pool))].sort();
  return pools.map((pool) => ({ pool, instances: plannedInstances(view, onTheWay, pool), moving, active: view.active.length }));
}

/** Moves that are over and that no report shows yet. */
function unreported({ settling, instances }: PlanningView): ActiveMove[] {
  if (settling.length === 0) return [];
  const epochs = new Map<string, number>();
  for (const { status } of instances)
    for (const { requestId, epoch } of status.sequences) epochs.set(requestId, Math.max(epoch, epochs.get(requestId) ?? 0));
  return settling.filter(({ requestId, toEpoch }) => (epochs.get(requestId) ?? 0) < toEpoch);
}

function plannedInstances(view: PlanningView, onTheWay: readonly ActiveMove[], pool: string): PlannedInstance[] {
  return view.instances
    .filter((instance) => instance.status.pool === pool)
    .map((instance) => {
      const reported = instance.status;
      const id = reported.instanceId;
      const here = (move: ActiveMove) => reported.sequences.find((sequence) => sequence.requestId === move.requestId);
      const incoming = onTheWay.filter((move) => move.targetInstanceId === id && (here(move)?.epoch ?? 0) < move.toEpoch);
      const leaving = onTheWay.flatMap((move) => (move.sourceInstanceId === id ? (here(move) ?? []) : []));
      // Reservations that the instance has reported are out of its free blocks already.
      const unseen = Math.max(0, incoming.reduce((sum, move) => sum + move.reserveBlocks, 0) - reported.reservedBlocks);
      const arrived = { ...reported, freeBlocks: reported.freeBlocks - unseen, running: reported.running + incoming.length };
      return {
        id,
        instance,
        status: leaving.reduce(withoutSequence, arrived),
        leavingBlocks: leaving.reduce((sum, sequence) => sum + sequence.blocks, 0),
        leavingSequences: leaving.length,
        moves: view.active.filter((move) => move.targetInstanceId === id || move.sourceInstanceId === id).length,
      };
    })
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** The picture after `sequence` has moved. */
export function afterMove(picture: PoolPicture, sequence: SequenceStatus, sourceId: string, targetId: string, cost: MoveCost): PoolPicture {
  const instances = picture.instances.map((planned) => {
    if (planned.id === sourceId)
      return {
        ...planned,
        status: withoutSequence(planned.status, sequence),
        leavingBlocks: planned.leavingBlocks + sequence.blocks,
        leavingSequences: planned.leavingSequences + 1,
        moves: planned.moves + 1,
      };
    if (planned.id === targetId) return { ...planned, status: withSequence(planned.status, sequence, cost.reserveBlocks), moves: planned.moves + 1 };
    return planned;
  });
  return { ...picture, instances, moving: new Set([...picture.moving, sequence.requestId]), active: picture.active + 1 };
}

export function withoutSequence(status: InstanceStatus, sequence: SequenceStatus): InstanceStatus {
  const sequences = status.sequences.filter((other) => other.requestId !== sequence.requestId);
  if (sequence.state !== 'waiting')
    return { ...status, sequences, freeBlocks: status.freeBlocks + sequence.blocks, running: Math.max(0, status.running - 1) };
  const demand = Math.ceil((sequence.promptTokens + sequence.outputTokens) / status.blockTokens);
  return { ...status, sequences, waiting: Math.max(0, status.waiting - 1), waitingBlocks: Math.max(0, status.waitingBlocks - demand) };
}

export function withSequence(status: InstanceStatus, sequence: SequenceStatus, blocks: number): InstanceStatus {
  return {
    ...status,
    sequences: [...status.sequences, { ...sequence, state: 'decode' as const, blocks }],
    freeBlocks: status.freeBlocks - blocks,
    running: status.running + 1,
  };
}

export function balanceSteps(status: InstanceStatus, limits: PlanningLimits): number {
  return dispatchFreenessSteps(status, headroomOf(limits, status.totalBlocks));
}

export function headSteps(status: InstanceStatus, limits: PlanningLimits): number {
  return defragFreenessSteps(status, headroomOf(limits, status.totalBlocks));
}

/** May give and take in rebalancing. */
export function isActive(instance: KnownInstance): boolean {
  return instance.health === 'healthy' && !instance.stale && !instance.cordoned;
}
