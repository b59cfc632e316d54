// The queue of a pool: bounded, ordered, fair, and never starving anyone for ever.
//
// Continuations go first. The rest is served band by band (SLO class, then priority); within a band the flow (fairness
// id) that has been given the fewest tokens is next; within a flow the earliest deadline, then the earliest arrival.
// Every `agingMs` of waiting lifts a request by one class, and once it is in the first class by one priority: whatever
// keeps arriving, it is served in the end. A full queue sheds its worst request, which may be the one that comes.
import { ChurnMap } from '../collections/churn-map.ts';
import { classRank, type SloClass } from './slo.ts';

export interface QueueItem {
  readonly requestId: string;
  readonly sloClass: SloClass;
  /** Higher first. */
  readonly priority: number;
  readonly arrivalMs: number;
  /** Orders requests of one flow. */
  readonly startByMs: number;
  /** Refused when still queued then; Infinity for a continuation. */
  readonly expiresAtMs: number;
  readonly fairnessId: string;
  readonly continuation: boolean;
  /** Tokens that its flow is charged with. */
  readonly tokens: number;
}

export interface QueueLimits {
  readonly maxItems: number;
  /** Waiting that is worth one class, or one priority in the first class. */
  readonly agingMs: number;
  /** Flows whose share is remembered beside those that wait. At the limit the one that was idle longest starts anew. */
  readonly maxIdleFlows: number;
}

/** Priorities beyond this, in either direction, count as this. */
const prioritySpan = 1_000_000;

/** How long positions are good for. */
const positionsMs = 250;

interface Places {
  readonly atMs: number;
  readonly positions: ReadonlyMap<string, number>;
}

const noPlaces: Places = { atMs: Number.NEGATIVE_INFINITY, positions: new Map() };

interface Flow {
  /** Tokens given to the flow, in the virtual time of all flows. */
  served: number;
  waiting: number;
}

interface Queued {
  readonly item: QueueItem;
  /** Not dispatched earlier: the router has just said that it fits nowhere. */
  notBeforeMs: number;
}

export class AdmissionQueue {
  #limits: QueueLimits;
  readonly #items = new ChurnMap<string, Queued>();
  /** Those that hold back, or did until lately. */
  readonly #holding = new Set<Queued>();
  /** Least recently used first. */
  readonly #flows = new ChurnMap<string, Flow>();
  readonly #depths = new Map<SloClass, number>();
  #places: Places = noPlaces;
  /** Share of the flow served last: where a flow that comes back starts. */
  #virtualTime = 0;

  constructor(limits: QueueLimits) {
    this.#limits = limits;
  }

  /** A smaller limit sheds nothing by itself: the next request that comes does. */
  configure(limits: QueueLimits): void {
    this.#limits = limits;
  }

  get size(): number {
    return this.#items.size;
  }

  has(requestId: string): boolean {
    return this.#items.has(requestId);
  }

  depth(sloClass: SloClass): number {
    return this.#depths.get(sloClass) ?? 0;
  }

  /** Returns the request that had to go, if one had to. A request that is queued already stays where it is. */
  add(item: QueueItem, notBeforeMs = 0): QueueItem | undefined {
    if (this.#items.has(item.requestId)) return undefined;
    this.#insert(item, notBeforeMs);
    if (this.#items.size <= this.#limits.maxItems) return undefined;
    let worst = item;
    for (const queued of this.#items.values()) if (isWorse(queued.item, worst)) worst = queued.item;
    return this.remove(worst.requestId);
  }

  /** Back from the router without a place: its flow gets its tokens back. Never sheds: it had a place in the queue before. */
  putBack(item: QueueItem, notBeforeMs: number): void {
    if (this.#items.has(item.requestId)) return;
    this.#insert(item, notBeforeMs);
    if (!item.continuation) this.#flow(item.fairnessId).served -= item.tokens;
  }

  remove(requestId: string): QueueItem | undefined {
    const queued = this.#items.get(requestId);
    if (!queued) return undefined;
    this.#items.delete(requestId);
    this.#holding.delete(queued);
    const { sloClass, fairnessId } = queued.item;
    this.#depths.set(sloClass, this.depth(sloClass) - 1);
    this.#flow(fairnessId).waiting -= 1;
    return queued.item;
  }

  clear(): void {
    this.#items.clear();
    this.#holding.clear();
    this.#places = noPlaces;
    this.#flows.clear();
    this.#depths.clear();
  }

  /** Takes out every continuation and the next `room` others, at most `max` together, in the order in which they are to be served. */
  take(room: number, max: number, nowMs: number): QueueItem[] {
    const first: QueueItem[] = [];
    const rest: QueueItem[] = [];
    for (const { item, notBeforeMs } of this.#items.values()) if (notBeforeMs <= nowMs) (item.continuation ? first : rest).push(item);
    const taken = first.sort(byArrival).slice(0, max);
    const wanted = Math.min(room, max - taken.length);
    if (wanted > 0) taken.push(...this.#fairOrder(rest, wanted, nowMs));
    for (const { requestId } of taken) this.remove(requestId);
    return taken;
  }

  /**
   * 1 is next, 0 is not queued. Counts who is in a better band or has an earlier deadline in the same; fairness may still
   * reorder a band. Up to `positionsMs` old: everybody who waits asks about once a second.
   */
  positionOf(requestId: string, nowMs: number): number {
    if (!this.#items.has(requestId)) return 0;
    const { atMs, positions } = this.#places;
    const position = nowMs - atMs < positionsMs ? positions.get(requestId) : undefined;
    if (position !== undefined) return Math.min(position, this.#items.size);
    this.#places = { atMs: nowMs, positions: this.#positions(nowMs) };
    return this.#places.positions.get(requestId)!;
  }

  #positions(nowMs: number): ReadonlyMap<string, number> {
    const ranked = Array.from(this.#items.values(), ({ item }) => ({
      item,
      band: item.continuation ? Number.NEGATIVE_INFINITY : this.#band(item, nowMs),
    }));
    const inBand = (a: QueueItem, b: QueueItem) => (a.continuation ? byArrival(a, b) : byDeadline(a, b));
    ranked.sort((a, b) => (a.band === b.band ? inBand(a.item, b.item) : a.band - b.band));
    return new Map(ranked.map(({ item }, index) => [item.requestId, index + 1]));
  }

  expired(nowMs: number): QueueItem[] {
    return [...this.#items.values()].map((queued) => queued.item).filter((item) => item.expiresAtMs <= nowMs);
  }

  /** There may be room where there was none: nobody has to hold back any longer. */
  allReady(): void {
    for (const queued of this.#holding) queued.notBeforeMs = 0;
    this.#holding.clear();
  }

  /** When an item becomes ready that is not yet; undefined when all are. */
  nextReadyMs(nowMs: number): number | undefined {
    let next: number | undefined;
    for (const queued of this.#holding) {
      const { notBeforeMs } = queued;
      if (notBeforeMs <= nowMs) this.#holding.delete(queued);
      else if (next === undefined || notBeforeMs < next) next = notBeforeMs;
    }
    return next;
  }

  #insert(item: QueueItem, notBeforeMs: number): void {
    const queued = { item, notBeforeMs };
    this.#items.set(item.requestId, queued);
    if (notBeforeMs > 0) this.#holding.add(queued);
    this.#depths.set(item.sloClass, this.depth(item.sloClass) + 1);
    const flow = this.#flow(item.fairnessId);
    // A flow that was away may not save up its share.
    if (flow.waiting === 0) flow.served = Math.max(flow.served, this.#virtualTime);
    flow.waiting += 1;
  }

  /** Band after band, best first. Scans instead of sorting: a dispatch takes few of many. */
  #fairOrder(items: readonly QueueItem[], count: number, nowMs: number): QueueItem[] {
    const bands = new Float64Array(items.length);
    for (let k = 0; k < items.length; k++) bands[k] = this.#band(items[k]!, nowMs);
    const order: QueueItem[] = [];
    let served = Number.NEGATIVE_INFINITY;
    while (order.length < Math.min(count, items.length)) {
      const next = lowestAbove(bands, served);
      order.push(
        ...this.#serveBand(
          items.filter((_, index) => bands[index] === next),
          count - order.length,
        ),
      );
      served = next;
    }
    return order;
  }

  #serveBand(band: readonly QueueItem[], count: number): QueueItem[] {
    const flows = new Map<string, QueueItem[]>();
    for (const item of band) {
      const flow = flows.get(item.fairnessId);
      if (flow) flow.push(item);
      else flows.set(item.fairnessId, [item]);
    }
    const served: QueueItem[] = [];
    while (served.length < count && flows.size > 0) {
      const id = [...flows.keys()].reduce((a, b) => (this.#isServedLess(a, b) ? a : b));
      const items = flows.get(id)!;
      const item = takeEarliest(items);
      if (items.length === 0) flows.delete(id);
      const flow = this.#flow(id);
      this.#virtualTime = Math.max(this.#virtualTime, flow.served);
      flow.served += item.tokens;
      served.push(item);
    }
    return served;
  }

  #isServedLess(a: string, b: string): boolean {
    const [left, right] = [this.#flows.get(a)!.served, this.#flows.get(b)!.served];
    return left < right || (left === right && a < b);
  }

  /** Lower is better: class first, then priority. */
  #band(item: QueueItem, nowMs: number): number {
    const lifts = Math.max(0, Math.floor((nowMs - item.arrivalMs) / this.#limits.agingMs));
    const rank = classRank(item.sloClass);
    const priority = Math.min(prioritySpan, Math.max(-prioritySpan, item.priority)) + Math.max(0, lifts - rank);
    return Math.max(0, rank - lifts) * 4 * prioritySpan - priority;
  }

  #flow(fairnessId: string): Flow {
    let flow = this.#flows.get(fairnessId);
    if (flow) this.#flows.delete(fairnessId);
    else flow = { served: this.#virtualTime, waiting: 0 };
    this.#flows.set(fairnessId, flow);
    // Flows that wait are no more than items, so one is idle for longer than this one, which was used just now.
    if (this.#flows.size > this.#limits.maxIdleFlows + this.#items.size) this.#forgetIdleFlow();
    return flow;
  }

  #forgetIdleFlow(): void {
    for (const [id, flow] of this.#flows) {
      if (flow.waiting > 0) continue;
      this.#flows.delete(id);
      return;
    }
  }
}

/** Infinity when there is none. */
function lowestAbove(values: Float64Array, bound: number): number {
  let lowest = Number.POSITIVE_INFINITY;
  for (let k = 0; k < values.length; k++) if (values[k]! > bound && values[k]! < lowest) lowest = values[k]!;
  return lowest;
}

/** Removes and returns the item with the earliest deadline. `items` is not empty; its order is lost. */
function takeEarliest(items: QueueItem[]): QueueItem {
  let best = 0;
  for (let k = 1; k < items.length; k++) if (byDeadline(items[k]!, items[best]!) < 0) best = k;
  const earliest = items[best]!;
  items[best] = items.at(-1)!;
  items.pop();
  return earliest;
}

function byArrival(a: QueueItem, b: QueueItem): number {
  return a.arrivalMs - b.arrivalMs || (a.requestId < b.requestId ? -1 : 1);
}

function byDeadline(a: QueueItem, b: QueueItem): number {
  return a.startByMs - b.startByMs || byArrival(a, b);
}

/** The first to be shed: lowest class, then lowest priority, then latest; a continuation last of all. Age protects nobody here. */
function isWorse(a: QueueItem, b: QueueItem): boolean {
  if (a.continuation !== b.continuation) return b.continuation;
  const order = classRank(a.sloClass) - classRank(b.sloClass) || b.priority - a.priority || byArrival(a, b);
  return order > 0;
}
