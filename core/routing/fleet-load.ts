// The fleet as decisions see it: the newest view, corrected by the account of what is in flight, as one table per pool.
// A change of the view costs what has changed; only a pool that an instance joins or leaves gets a new table.

import type { FleetView, InstanceView } from '../../proto/gen/messages.ts';
import { type EngineFault, isEngineFault } from '../engine/engine-health.ts';
import { changeOfView, type FleetChange } from '../tracking/fleet-replica.ts';
import type { ViewHeader } from '../tracking/fleet-view.ts';
import { type AccountLimits, InFlightAccount, type InFlightBooking } from './account.ts';
import { inputOf } from './candidate.ts';
import { PoolTable } from './fleet-table.ts';

export class FleetLoad {
  readonly account: InFlightAccount;
  /** Of the newest view; undefined before the first. */
  header: ViewHeader | undefined;
  readonly #pools = new Map<string, PoolTable>();
  /** By pool and instance id, as in the newest view. */
  readonly #instances = new Map<string, Map<string, InstanceView>>();
  /** Instance id to the table that has it. */
  readonly #homes = new Map<string, PoolTable>();

  /** `handedOver` is told of bookings that have come to their second instance. */
  constructor(limits?: AccountLimits, handedOver?: (booking: InFlightBooking) => void) {
    this.account = new InFlightAccount(limits, (instanceId) => this.#correct(instanceId), handedOver);
  }

  /** An empty table for a pool of which nothing is known. */
  pool(pool: string): PoolTable {
    return this.#pools.get(pool) ?? noInstances;
  }

  /** Where the instance is; undefined for one that is not in the view. */
  placeOf(instanceId: string): { readonly table: PoolTable; readonly row: number } | undefined {
    const table = this.#homes.get(instanceId);
    return table && { table, row: table.rowOf(instanceId)! };
  }

  /** Takes in a whole view. */
  takeView(view: FleetView, nowMs: number): void {
    this.takeChange(changeOfView(view), nowMs);
  }

  /** Takes in what a newer view changes. Changes must come in order. */
  takeChange(change: FleetChange, nowMs: number): void {
    const { trackerId, epoch, version, atMs } = change;
    this.header = { trackerId, epoch, version, atMs };
    this.account.reconcile(change, nowMs);
    const anew = new Set<string>();
    if (change.whole) this.#removeAllBut(new Set(change.changed.map(({ status }) => status?.instanceId ?? '')), anew);
    for (const instanceId of change.removed) this.#remove(instanceId, anew);
    for (const instance of change.changed) {
      if (!instance.status) continue;
      const { instanceId, pool } = instance.status;
      const known = this.#instances.get(pool)?.get(instanceId);
      if (!known) {
        this.#remove(instanceId, anew);
        anew.add(pool);
      }
      this.#instancesOf(pool).set(instanceId, instance);
      const table = this.#homes.get(instanceId);
      if (table && !anew.has(pool)) this.#fill(table, table.rowOf(instanceId)!, instance);
    }
    for (const pool of anew) this.#rebuild(pool);
  }

  /** Why nobody in the pool takes requests: the fault that engines of all its live instances answer with. Undefined: not for that. */
  setAside(pool: string): EngineFault | undefined {
    if (this.pool(pool).usable > 0) return undefined;
    const answers = new Set<string>();
    for (const { status, health } of this.#instances.get(pool)?.values() ?? []) if (status && health !== 'dead') answers.add(status.setAside);
    if (answers.size === 0 || answers.has('')) return undefined;
    const [only = ''] = answers;
    return answers.size === 1 && isEngineFault(only) ? only : 'engine_unavailable';
  }

  #removeAllBut(present: ReadonlySet<string>, anew: Set<string>): void {
    for (const instanceId of this.#homes.keys()) if (!present.has(instanceId)) this.#remove(instanceId, anew);
  }

  #remove(instanceId: string, anew: Set<string>): void {
    for (const [pool, instances] of this.#instances) if (instances.delete(instanceId)) anew.add(pool);
    this.#homes.delete(instanceId);
  }

  #instancesOf(pool: string): Map<string, InstanceView> {
    const known = this.#instances.get(pool) ?? new Map<string, InstanceView>();
    this.#instances.set(pool, known);
    return known;
  }

  #rebuild(pool: string): void {
    const instances = this.#instancesOf(pool);
    if (instances.size === 0) {
      this.#instances.delete(pool);
      this.#pools.delete(pool);
      return;
    }
    const table = new PoolTable([...instances.keys()].sort());
    this.#pools.set(pool, table);
    for (const [row, instanceId] of table.ids.entries()) {
      this.#homes.set(instanceId, table);
      this.#fill(table, row, instances.get(instanceId)!);
    }
  }

  #fill(table: PoolTable, row: number, instance: InstanceView): void {
    const { instanceId, address } = instance.status!;
    table.set(row, address, inputOf(instance, this.account.correctionOf(instanceId)));
  }

  #correct(instanceId: string): void {
    const place = this.placeOf(instanceId);
    place?.table.correct(place.row, this.account.correctionOf(instanceId));
  }
}

const noInstances = new PoolTable([]);
