// The fleet as decisions see it: the newest view, corrected by the account of what is in flight, as one table per pool.
import type { FleetView, InstanceView } from '../../proto/gen/messages.ts';
import { type AccountLimits, InFlightAccount } from './account.ts';
import { inputOf } from './candidate.ts';
import { PoolTable } from './fleet-table.ts';

export class FleetLoad {
  readonly account: InFlightAccount;
  view: FleetView | undefined;
  #pools: ReadonlyMap<string, PoolTable> = new Map();
  /** Instance id to the table that has it. */
  readonly #homes = new Map<string, PoolTable>();

  constructor(limits?: AccountLimits) {
    this.account = new InFlightAccount(limits, (instanceId) => this.#correct(instanceId));
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

  /** Takes in a newer view. Views must come in order. */
  takeView(view: FleetView, nowMs: number): void {
    this.view = view;
    this.account.reconcile(view, nowMs);
    const byPool = new Map<string, InstanceView[]>();
    for (const instance of view.instances) {
      if (!instance.status) continue;
      const { pool } = instance.status;
      const known = byPool.get(pool);
      if (known) known.push(instance);
      else byPool.set(pool, [instance]);
    }
    const before = this.#pools;
    this.#pools = new Map([...byPool].map(([pool, instances]) => [pool, this.#filled(before.get(pool), instances.sort(byId))]));
    this.#homes.clear();
    for (const table of this.#pools.values()) for (const id of table.ids) this.#homes.set(id, table);
  }

  /** The same table as long as the instances are the same. */
  #filled(known: PoolTable | undefined, instances: readonly InstanceView[]): PoolTable {
    const same = known?.size === instances.length && instances.every(({ status }, row) => status!.instanceId === known.ids[row]);
    const table = same ? known : new PoolTable(instances.map(({ status }) => status!.instanceId));
    for (const [row, instance] of instances.entries()) {
      const { instanceId, address } = instance.status!;
      table.set(row, address, inputOf(instance, this.account.correctionOf(instanceId)));
    }
    return table;
  }

  #correct(instanceId: string): void {
    const place = this.placeOf(instanceId);
    place?.table.correct(place.row, this.account.correctionOf(instanceId));
  }
}

const noInstances = new PoolTable([]);

function byId(a: InstanceView, b: InstanceView): number {
  return a.status!.instanceId < b.status!.instanceId ? -1 : 1;
}
