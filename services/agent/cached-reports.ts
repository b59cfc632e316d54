// Tells routers which prompt blocks an engine has cached, if it knows: whole reports, beside the status reports, when something has
// changed and now and then anyway, so that any may be lost.
import { prefixesCached } from '../../lib/contracts.ts';
import type { Bus } from '../../lib/ports/bus.ts';
import type { Clock } from '../../lib/ports/clock.ts';
import type { EngineAdapter } from '../../lib/ports/engines.ts';

export interface CachedReportsOptions {
  readonly bus: Bus;
  readonly clock: Clock;
  readonly adapter: EngineAdapter;
  readonly pool: string;
  readonly instanceId: string;
  readonly incarnation: number;
}

/** Between two reports of changes, and of none. A report of 4096 hashes is 16 KB. */
const shortestMs = 500;
const longestMs = 5_000;
const maxHashes = 4_096;

/** The returned function is called with every status report. */
export function createCachedReports({ bus, clock, adapter, pool, instanceId, incarnation }: CachedReportsOptions): () => void {
  let sequenceNumber = 0;
  let toldVersion: number | undefined;
  let toldAtMs = Number.NEGATIVE_INFINITY;

  return () => {
    const sinceMs = clock.now() - toldAtMs;
    if (!adapter.cachedPrefixes || sinceMs < shortestMs) return;
    const cached = adapter.cachedPrefixes();
    if (!cached || (cached.version === toldVersion && sinceMs < longestMs)) return;
    toldVersion = cached.version;
    toldAtMs = clock.now();
    const hashes = cached.hashes.slice(-maxHashes);
    bus.publish(prefixesCached, [pool, instanceId], { instanceId, pool, incarnation, sequenceNumber: ++sequenceNumber, hashes });
  };
}
