// How a sequence moves: whether its KV travels, how, and why so. An engine says what it can by its capabilities; two engines
// read each other's KV when their formats are the same.
import type { InstanceStatus, MigrationPlan, SequenceStatus } from '../../proto/gen/messages.ts';
import type { PlanningLimits } from './planning.ts';

export type MigrationMode = MigrationPlan['mode'];

export interface ModeChoice {
  readonly mode: MigrationMode;
  /** Half a sentence: why not the better one. Empty: this is the best there is. */
  readonly because: string;
}

/** Whether the target takes the sequence over with its KV, from a reservation; otherwise it computes the context again. */
export function carriesKv(mode: MigrationMode): boolean {
  return mode !== 'recompute';
}

/** Whether KV goes over in stages while the source decodes on. */
export function copiesAhead(mode: MigrationMode): boolean {
  return mode === 'copy' || mode === 'follow';
}

/** What engines of both sides must have to move KV, the best first. */
const kvWays = ['kv_export', 'kv_pull', 'kv_state'] as const;
type KvWay = (typeof kvWays)[number];

/**
 * How an instance's KV travels, and in what shape: instances of a pool with the same one can take sequences over from each other
 * with their KV. Empty: its engine does not move KV.
 */
export function kvFit(status: Pick<InstanceStatus, 'capabilities' | 'blockTokens' | 'kvBytesPerToken' | 'kvFormat'>): string {
  const ways = kvWays.filter((way) => status.capabilities.includes(way));
  return ways.length === 0 ? '' : [ways.join('+'), status.blockTokens, status.kvBytesPerToken, status.kvFormat].join('/');
}

/** How `bytes` of KV travel between two engines that both have a way; undefined: they have none. */
export function modeOf(ways: { has(way: KvWay): boolean }, bytes: number, limits: Pick<PlanningLimits, 'followFromBytes'>): ModeChoice | undefined {
  if (ways.has('kv_export')) return { mode: 'copy', because: '' };
  if (ways.has('kv_pull')) return { mode: 'pull', because: '' };
  if (!ways.has('kv_state')) return undefined;
  return bytes >= limits.followFromBytes
    ? { mode: 'follow', because: '' }
    : { mode: 'stop_and_copy', because: 'so little is quicker copied at once than followed' };
}

/**
 * KV travels when both sides can move it, in the same shape and format, and there is any worth moving (the sequence decodes).
 * Undefined: the target cannot even compute it again.
 */
export function chooseMode(
  sequence: SequenceStatus,
  source: InstanceStatus,
  target: InstanceStatus,
  limits: Pick<PlanningLimits, 'followFromBytes'>,
): ModeChoice | undefined {
  const obstacle = whyNotKv(sequence, source, target);
  if (obstacle !== '') return target.capabilities.includes('recompute') ? { mode: 'recompute', because: obstacle } : undefined;
  const bytes = (sequence.promptTokens + sequence.outputTokens) * source.kvBytesPerToken;
  return modeOf({ has: (way) => both(source, target, way) }, bytes, limits);
}

/** Whether KV would travel if the sequence decoded, which the next report may say. */
export function tooEarlyForKv(sequence: SequenceStatus, source: InstanceStatus, target: InstanceStatus): boolean {
  return sequence.state !== 'decode' && whyNotKv({ ...sequence, state: 'decode' }, source, target) === '';
}

function whyNotKv(sequence: SequenceStatus, source: InstanceStatus, target: InstanceStatus): string {
  if (sequence.state !== 'decode') return `it is in ${sequence.state}: there is no KV worth moving`;
  if (!kvWays.some((way) => both(source, target, way))) return 'the engines do not move KV';
  const sameShape = source.blockTokens === target.blockTokens && source.kvBytesPerToken === target.kvBytesPerToken && source.model === target.model;
  return sameShape && source.kvFormat === target.kvFormat ? '' : "the engines cannot read each other's KV";
}

function both(source: InstanceStatus, target: InstanceStatus, capability: KvWay): boolean {
  return source.capabilities.includes(capability) && target.capabilities.includes(capability);
}

/** Failures of moving KV after which the target may still compute the context again; the sequence itself is well. */
const kvFailures: ReadonlySet<string> = new Set([
  'transfer_failed',
  'corrupt_kv',
  'too_many_stages',
  'not_movable',
  'invalid_request',
  'unknown_reservation',
  'reservation_expired',
  'engine_error',
  'permission_denied',
]);

export function mayRecomputeAfter(code: string): boolean {
  return kvFailures.has(code);
}
