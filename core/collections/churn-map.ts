// A Map for entries that come and go all the time, as requests do.
//
// When V8 grows or cleans the table behind a Map, the old table keeps its entries and points to the new one. Once one such
// table has grown old, everything that later tables held survives every collection of the young space, long after it was
// deleted: docs/decisions/0039-maps-of-what-comes-and-goes.md has the figures. Here tables hold cells, which a deletion
// empties, and so nothing of an entry but its key is held.

interface Cell<V> {
  value: V | undefined;
}

/** As a Map: in the order of insertion, and iterated over while it changes. */
export class ChurnMap<K, V> {
  readonly #cells = new Map<K, Cell<V>>();

  get size(): number {
    return this.#cells.size;
  }

  has(key: K): boolean {
    return this.#cells.has(key);
  }

  get(key: K): V | undefined {
    return this.#cells.get(key)?.value;
  }

  set(key: K, value: V): this {
    const cell = this.#cells.get(key);
    if (cell) cell.value = value;
    else this.#cells.set(key, { value });
    return this;
  }

  delete(key: K): boolean {
    const cell = this.#cells.get(key);
    if (!cell) return false;
    cell.value = undefined;
    return this.#cells.delete(key);
  }

  clear(): void {
    for (const cell of this.#cells.values()) cell.value = undefined;
    this.#cells.clear();
  }

  keys(): MapIterator<K> {
    return this.#cells.keys();
  }

  *values(): Generator<V> {
    for (const cell of this.#cells.values()) yield cell.value as V;
  }

  *[Symbol.iterator](): Generator<[K, V]> {
    for (const [key, cell] of this.#cells) yield [key, cell.value as V];
  }
}
