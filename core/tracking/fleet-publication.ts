// The fleet view as its publisher keeps it: what readers have been told, what has changed since, and how to say it in
// messages of bounded size. A change that matters goes with the next message; one that only moves tokens on waits until
// the instance was not heard of for `maxQuietMs`.
import type { FleetDelta, FleetView, InstanceChange, InstanceView } from '../../proto/gen/messages.ts';
import type { ViewHeader } from './fleet-view.ts';
import { changeOf, wholeChange } from './instance-change.ts';

/**
 * Size of a message from which the rest goes into another one. Sizes are estimates that take a character for a byte, of
 * which it takes three at most: the bus's limit of 1 MiB is kept whatever the texts are.
 */
export const partBytes = 256 * 1024;

interface Told {
  readonly view: InstanceView;
  readonly atMs: number;
}

export interface PageQuery {
  /** Instances with greater ids. */
  readonly after: string;
  readonly withoutSequences: boolean;
}

export class FleetPublication {
  readonly #maxQuietMs: () => number;
  #header: ViewHeader;
  /** By instance id. As many as are tracked. */
  readonly #told = new Map<string, Told>();
  readonly #urgent = new Set<string>();
  readonly #quiet = new Set<string>();
  /** Ids in order; undefined after one came or went. */
  #ids: string[] | undefined;

  constructor(trackerId: string, maxQuietMs: () => number) {
    this.#header = { trackerId, epoch: 0, version: 0, atMs: 0 };
    this.#maxQuietMs = maxQuietMs;
  }

  /** Of the view as it was told last. */
  get header(): ViewHeader {
    return this.#header;
  }

  /** The instance has changed, or is gone. */
  note(instanceId: string, urgent: boolean): void {
    if (urgent) this.#urgent.add(instanceId);
    else this.#quiet.add(instanceId);
  }

  /** When this change has to be told; infinity: there is none. */
  dueMs(instanceId: string): number {
    if (this.#urgent.has(instanceId)) return 0;
    return this.#quiet.has(instanceId) ? (this.#told.get(instanceId)?.atMs ?? 0) + this.#maxQuietMs() : Number.POSITIVE_INFINITY;
  }

  /** When the next of all changes has to be told. */
  nextDueMs(): number {
    if (this.#urgent.size > 0) return 0;
    let nextMs = Number.POSITIVE_INFINITY;
    for (const instanceId of this.#quiet) nextMs = Math.min(nextMs, this.dueMs(instanceId));
    return nextMs;
  }

  /** Begins a view that needs none before it. Versions go on growing when the epoch stays. */
  begin(epoch: number, instances: readonly InstanceView[], nowMs: number): FleetDelta[] {
    this.#header = { ...this.#header, epoch, version: epoch === this.#header.epoch ? this.#header.version : 0 };
    for (const known of [this.#told, this.#urgent, this.#quiet]) known.clear();
    this.#ids = undefined;
    for (const view of instances) if (view.status) this.#told.set(view.status.instanceId, { view, atMs: nowMs });
    const changes = this.#sorted().map((instanceId) => wholeChange(this.#told.get(instanceId)!.view));
    return this.#messages(changes, [], nowMs, true);
  }

  /** What is due, as messages that follow each other; one that says nothing new when nothing is. */
  tell(current: (instanceId: string) => InstanceView | undefined, nowMs: number): FleetDelta[] {
    const due = [...this.#urgent, ...[...this.#quiet].filter((id) => !this.#urgent.has(id) && this.dueMs(id) <= nowMs)];
    const changes: InstanceChange[] = [];
    const removed: string[] = [];
    for (const instanceId of due) {
      this.#urgent.delete(instanceId);
      this.#quiet.delete(instanceId);
      const before = this.#told.get(instanceId);
      const view = current(instanceId);
      if (!view) {
        if (this.#told.delete(instanceId)) removed.push(instanceId);
        continue;
      }
      const change = changeOf(before?.view, view);
      if (change) changes.push(change);
      this.#told.set(instanceId, { view, atMs: nowMs });
      if (!before) this.#ids = undefined;
    }
    if (removed.length > 0) this.#ids = undefined;
    return this.#messages(changes, removed, nowMs, false);
  }

  /** As readers have it, from `after` on, as much as fits into one message. */
  page({ after, withoutSequences }: PageQuery): FleetView {
    const ids = this.#sorted();
    const instances: InstanceView[] = [];
    let bytes = 0;
    let index = after === '' ? 0 : firstAfter(ids, after);
    for (; index < ids.length; index++) {
      const view = this.#told.get(ids[index]!)!.view;
      const shown = withoutSequences ? bare(view) : view;
      bytes += bytesOf(shown);
      if (instances.length > 0 && bytes > partBytes) break;
      instances.push(shown);
    }
    return { ...this.#header, instances, nextAfter: index < ids.length ? ids[index - 1]! : '' };
  }

  #sorted(): readonly string[] {
    this.#ids ??= [...this.#told.keys()].sort();
    return this.#ids;
  }

  #messages(changes: readonly InstanceChange[], removed: readonly string[], nowMs: number, first: boolean): FleetDelta[] {
    const parts: InstanceChange[][] = [[]];
    let bytes = removed.reduce((sum, id) => sum + id.length + 2, 0);
    for (const change of changes) {
      const size = bytesOfChange(change);
      if (bytes + size > partBytes && bytes > 0) {
        parts.push([]);
        bytes = 0;
      }
      parts.at(-1)!.push(change);
      bytes += size;
    }
    return parts.map((changed, index) => {
      const { trackerId, epoch, version } = this.#header;
      this.#header = { ...this.#header, version: version + 1, atMs: nowMs };
      const begins = first && index === 0;
      return {
        ...{ trackerId, epoch, version: version + 1, baseVersion: begins ? 0 : version, atMs: nowMs, changed },
        removed: index === 0 ? removed : [],
        more: first && index < parts.length - 1,
      };
    });
  }
}

/** The same without its sequences: for lists of instances, and what is kept over a restart. */
export function bare(view: InstanceView): InstanceView {
  return view.status && view.status.sequences.length > 0 ? { ...view, status: { ...view.status, sequences: [] } } : view;
}

/** Index of the first id that is greater. */
function firstAfter(ids: readonly string[], after: string): number {
  let low = 0;
  let high = ids.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ids[middle]! <= after) low = middle + 1;
    else high = middle;
  }
  return low;
}

function bytesOfChange({ instanceId, whole, progress }: InstanceChange): number {
  if (whole) return bytesOf(whole) + instanceId.length + 16;
  if (!progress) return instanceId.length + 64;
  const sequences = progress.added.reduce((sum, sequence) => sum + textBytes(sequence) + 80, 0);
  return instanceId.length + 240 + sequences + progress.places.length * 16;
}

function bytesOf({ status }: InstanceView): number {
  if (!status) return 64;
  const capabilities = status.capabilities.reduce((sum, each) => sum + each.length + 2, 0);
  return 400 + textBytes(status) + capabilities + status.sequences.reduce((sum, sequence) => sum + textBytes(sequence) + 80, 0);
}

function textBytes(message: object): number {
  let bytes = 0;
  for (const value of Object.values(message)) if (typeof value === 'string') bytes += value.length + 2;
  return bytes;
}
