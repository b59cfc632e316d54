// What is said of an instance that readers know already: its health and the progress of its sequences, a tenth of its
// report. `changeOf` and `withChange` belong together: withChange(before, changeOf(before, after)) is `after`.
import type { InstanceChange, InstanceStatus, InstanceView, SequenceStatus, StatusProgress } from '../../proto/gen/messages.ts';

const states = ['waiting', 'prefill', 'decode', 'paused'] as const;

/** Fields of a report that move while it works. Any other one that differs sends the whole report. */
const moving = [
  'sequenceNumber',
  'atMs',
  'freeBlocks',
  'running',
  'waiting',
  'waitingBlocks',
  'headBlocks',
  'reservedBlocks',
  'cachedBlocks',
  'stepMs',
  'preemptions',
  'tokensOut',
  'accepting',
] as const satisfies readonly (keyof InstanceStatus & keyof StatusProgress)[];
const handled: ReadonlySet<string> = new Set([...moving, 'sequences', 'stepModel', 'meta']);
const handledOfSequence: ReadonlySet<string> = new Set(['state', 'outputTokens', 'blocks']);

/** How `after` differs from `before`; undefined: it does not. Without `before` the change is the whole of it. */
export function changeOf(before: InstanceView | undefined, after: InstanceView): InstanceChange | undefined {
  if (before === after) return undefined;
  const a = before?.status;
  const b = after.status;
  if (!before || !a || !b || (a.stepModel && !b.stepModel) || !sameBut(handled, a, b)) return wholeChange(after);
  const { health, stale, cordoned, cordonReason, receivedAtMs } = after;
  const progress = a === b ? null : progressOf(a, b);
  return { instanceId: b.instanceId, whole: null, health, stale, cordoned, cordonReason, receivedAtMs, progress };
}

/** All of an instance, for readers who do not know it. */
export function wholeChange(whole: InstanceView): InstanceChange {
  const instanceId = whole.status?.instanceId ?? '';
  return { instanceId, whole, health: 'healthy', stale: false, cordoned: false, cordonReason: 'none', receivedAtMs: 0, progress: null };
}

/** The instance after the change; undefined when it says less than the whole of an instance that is not known. */
export function withChange(before: InstanceView | undefined, change: InstanceChange): InstanceView | undefined {
  if (change.whole) return change.whole;
  if (!before?.status) return undefined;
  const { health, stale, cordoned, cordonReason, receivedAtMs, progress } = change;
  const status = progress ? withProgress(before.status, progress) : before.status;
  return { status, health, stale, cordoned, cordonReason, receivedAtMs };
}

function progressOf(before: InstanceStatus, after: InstanceStatus): StatusProgress {
  const placeOf = new Map(before.sequences.map(({ requestId }, index) => [requestId, index + 1]));
  const places: number[] = [];
  const added: SequenceStatus[] = [];
  const kept: SequenceStatus[] = [];
  for (const sequence of after.sequences) {
    const place = placeOf.get(sequence.requestId) ?? 0;
    const same = place > 0 && sameBut(handledOfSequence, before.sequences[place - 1]!, sequence);
    places.push(same ? place : 0);
    (same ? kept : added).push(sequence);
  }
  return {
    ...pick(after),
    stepModel: same(before.stepModel, after.stepModel) ? null : (after.stepModel ?? null),
    places,
    added,
    states: kept.map(({ state }) => states.indexOf(state)),
    outputTokens: kept.map(({ outputTokens }) => outputTokens),
    blocks: kept.map(({ blocks }) => blocks),
  };
}

function withProgress(before: InstanceStatus, progress: StatusProgress): InstanceStatus {
  let added = 0;
  let kept = 0;
  const sequences = progress.places.map((place): SequenceStatus => {
    if (place === 0) return progress.added[added++]!;
    const index = kept++;
    return {
      ...before.sequences[place - 1]!,
      state: states[progress.states[index]!]!,
      outputTokens: progress.outputTokens[index]!,
      blocks: progress.blocks[index]!,
    };
  });
  return { ...before, ...pick(progress), stepModel: progress.stepModel ?? before.stepModel, sequences };
}

type Moving = Pick<InstanceStatus, (typeof moving)[number]>;

function pick({
  sequenceNumber,
  atMs,
  freeBlocks,
  running,
  waiting,
  waitingBlocks,
  headBlocks,
  reservedBlocks,
  cachedBlocks,
  stepMs,
  preemptions,
  tokensOut,
  accepting,
}: Moving): Moving {
  return {
    ...{ sequenceNumber, atMs, freeBlocks, running, waiting, waitingBlocks, headBlocks, reservedBlocks, cachedBlocks },
    ...{ stepMs, preemptions, tokensOut, accepting },
  };
}

/** Every field that is not `but` is the same in both. */
function sameBut<T extends object>(but: ReadonlySet<string>, a: T, b: T): boolean {
  for (const key in b) if (!but.has(key) && !same(a[key], b[key])) return false;
  for (const key in a) if (!(key in b) && !but.has(key) && !same(a[key], undefined)) return false;
  return true;
}

/** Deep, for what messages hold; nothing there is the same as null. */
function same(a: unknown, b: unknown): boolean {
  if (a === b || (a ?? undefined) === (b ?? undefined)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => same(a[key as never], b[key as never]));
}
