// The fleet view as a reader keeps it: made of pages once, kept by the differences that follow. Messages may be lost,
// repeated and out of order: what cannot be put in its place is held until what belongs before it has come, or until
// pages make it needless.
//
// Pages of one collection are of different versions, since the fleet does not stand still. Together with all differences
// from the version of the first page to that of the last they are the view of the latter; a difference that a page has
// seen already is not applied to the instances of that page.
import type { FleetDelta, FleetView, InstanceView } from '../../proto/gen/messages.ts';
import { compareViews, type ViewHeader } from './fleet-view.ts';
import { withChange } from './instance-change.ts';

/** Differences held. At the limit the oldest is forgotten: pages repair what is missing then. */
export const maxHeld = 256;

/** What a listener is told. */
export interface FleetChange extends ViewHeader {
  /** The view is a new one altogether: `changed` is all of it. */
  readonly whole: boolean;
  /** As they are now. */
  readonly changed: readonly InstanceView[];
  /** Known to the view before, and not to this one. */
  readonly removed: readonly string[];
}

/** A view in the making. */
interface Draft {
  header: ViewHeader;
  readonly instances: Map<string, InstanceView>;
  /** By greatest id: the version of the pages it is made of. Empty: not made of pages. */
  readonly pages: { readonly upTo: string; readonly version: number }[];
  /** It is whole when it has come to this version. Infinity: not known yet. */
  wholeAt: number;
}

export class FleetReplica {
  #header: ViewHeader | undefined;
  #instances = new Map<string, InstanceView>();
  /** In order; undefined after an instance came or went. */
  #ids: readonly string[] | undefined;
  #view: FleetView | undefined;
  /** Newest epoch heard of: an older one says nothing any more. */
  #epoch = -1;
  /** Of the newest epoch, by base version, in order of arrival. */
  readonly #held = new Map<number, FleetDelta>();
  /** A view that its publisher begins, until its last message has come. */
  #beginning: Draft | undefined;
  /** Pages being collected, from the first one on. */
  #collecting: Draft | undefined;
  /** Pages are asked for: differences that come meanwhile are kept, for pages may be older. */
  #asking = false;

  /** The newest whole view. */
  view(): FleetView | undefined {
    if (!this.#header || this.#view) return this.#view;
    this.#ids ??= [...this.#instances.keys()].sort();
    this.#view = { ...this.#header, instances: this.#ids.map((id) => this.#instances.get(id)!), nextAfter: '' };
    return this.#view;
  }

  /** There is a newer view than this one, which the messages that came do not make. */
  behind(): boolean {
    return this.#header === undefined || this.#header.epoch !== this.#epoch || [...this.#held.keys()].some((base) => base >= this.#header!.version);
  }

  /** Takes a difference, and those held that follow it. */
  take(delta: FleetDelta): FleetChange[] {
    if (!this.#heardOf(delta.epoch)) return [];
    if (delta.baseVersion === 0) this.#begin(delta);
    else if (!this.#header || compareViews(delta, this.#header) > 0 || this.#asking) this.#hold(delta);
    return this.#advance();
  }

  /** To be called before the first page is asked for. Forgets what was collected before. */
  startCollecting(): void {
    this.#collecting = undefined;
    this.#asking = true;
  }

  stopCollecting(): void {
    this.#collecting = undefined;
    this.#asking = false;
  }

  /**
   * Takes the page that was asked for with `after`. With the last one the view is whole as soon as the differences since
   * the first one are there. False: the page does not belong to those before it; begin again.
   */
  takePage(page: FleetView, after: string): FleetChange[] | false {
    if (!this.#heardOf(page.epoch)) return false;
    if (after === '') {
      this.#collecting = { header: headerOf(page), instances: new Map(), pages: [], wholeAt: Number.POSITIVE_INFINITY };
    }
    const draft = this.#collecting;
    if (draft?.header.epoch !== page.epoch) return false;
    for (const instance of page.instances) if (instance.status) draft.instances.set(instance.status.instanceId, instance);
    draft.pages.push({ upTo: page.nextAfter, version: page.version });
    if (page.nextAfter === '') draft.wholeAt = page.version;
    return this.#advance();
  }

  /** False: of an older epoch. */
  #heardOf(epoch: number): boolean {
    if (epoch < this.#epoch) return false;
    if (epoch > this.#epoch) {
      this.#epoch = epoch;
      this.#held.clear();
      this.#beginning = undefined;
      this.#collecting = undefined;
    }
    return true;
  }

  #begin(delta: FleetDelta): void {
    if (this.#header && compareViews(delta, this.#header) <= 0) return;
    const draft: Draft = { header: headerOf(delta), instances: new Map(), pages: [], wholeAt: delta.more ? Number.POSITIVE_INFINITY : delta.version };
    apply(draft.instances, delta, draft);
    this.#beginning = draft;
  }

  #hold(delta: FleetDelta): void {
    this.#held.set(delta.baseVersion, delta);
    for (const oldest of this.#held.keys()) {
      if (this.#held.size <= maxHeld) break;
      this.#held.delete(oldest);
    }
  }

  #advance(): FleetChange[] {
    const changes: FleetChange[] = [];
    for (const draft of [this.#beginning, this.#collecting]) {
      if (!draft) continue;
      this.#advanceDraft(draft);
      if (draft.header.version < draft.wholeAt) continue;
      if (draft === this.#beginning) this.#beginning = undefined;
      else this.stopCollecting();
      if (!this.#header || compareViews(draft.header, this.#header) > 0) changes.push(this.#replace(draft));
    }
    if (this.#header?.epoch === this.#epoch) {
      for (let next = this.#held.get(this.#header.version); next; next = this.#held.get(this.#header.version)) changes.push(this.#follow(next));
      if (!this.#asking) for (const base of this.#held.keys()) if (base < this.#header.version) this.#held.delete(base);
    }
    return changes;
  }

  #advanceDraft(draft: Draft): void {
    for (let next = this.#held.get(draft.header.version); next && draft.header.version < draft.wholeAt; next = this.#held.get(draft.header.version)) {
      // Until the last page is there, any instance may still come with a later page.
      if (draft.pages.length > 0 && draft.wholeAt === Number.POSITIVE_INFINITY) return;
      apply(draft.instances, next, draft);
      draft.header = headerOf(next);
      if (draft.pages.length === 0 && !next.more) draft.wholeAt = next.version;
    }
  }

  #follow(delta: FleetDelta): FleetChange {
    this.#header = headerOf(delta);
    this.#view = undefined;
    const sizeBefore = this.#instances.size;
    const changed = apply(this.#instances, delta);
    if (this.#instances.size !== sizeBefore || delta.removed.length > 0) this.#ids = undefined;
    return { ...this.#header, whole: false, changed, removed: delta.removed };
  }

  #replace({ header, instances }: Draft): FleetChange {
    const removed = [...this.#instances.keys()].filter((id) => !instances.has(id));
    this.#header = header;
    this.#instances = instances;
    this.#ids = undefined;
    this.#view = undefined;
    return { ...header, whole: true, changed: [...instances.values()], removed };
  }
}

function headerOf({ trackerId, epoch, version, atMs }: ViewHeader): ViewHeader {
  return { trackerId, epoch, version, atMs };
}

/** Changes `instances` in place; returns those that changed. */
function apply(instances: Map<string, InstanceView>, delta: FleetDelta, draft?: Draft): InstanceView[] {
  const seen = (instanceId: string) => draft !== undefined && draft.pages.length > 0 && delta.version <= versionOf(draft, instanceId);
  for (const instanceId of delta.removed) if (!seen(instanceId)) instances.delete(instanceId);
  const changed: InstanceView[] = [];
  for (const change of delta.changed) {
    if (seen(change.instanceId)) continue;
    const after = withChange(instances.get(change.instanceId), change);
    if (!after) continue;
    instances.set(change.instanceId, after);
    changed.push(after);
  }
  return changed;
}

function versionOf({ pages }: Draft, instanceId: string): number {
  for (const { upTo, version } of pages) if (upTo === '' || instanceId <= upTo) return version;
  return 0;
}

/** A whole view as a change, for what begins with one. */
export function changeOfView(view: FleetView): FleetChange {
  return { ...headerOf(view), whole: true, changed: view.instances, removed: [] };
}

/** What the change means to someone who looks at one pool only: an instance that has gone over to another one is removed. */
export function changeOfPool(change: FleetChange, pool: string): FleetChange {
  const changed: InstanceView[] = [];
  const removed = [...change.removed];
  for (const instance of change.changed) {
    if (instance.status?.pool === pool) changed.push(instance);
    else if (instance.status && !change.whole) removed.push(instance.status.instanceId);
  }
  return { ...change, changed, removed };
}
