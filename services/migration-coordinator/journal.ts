// What the coordinator remembers of migrations besides those that run: the recent ends, the counts, when a request was
// moved last. Goes into the snapshot, which a successor starts from.
import type { MigrationEnded, MigrationPlan, MigrationsReply } from '../../proto/gen/messages.ts';

/** Ends that are kept; older ones are in Temporal's history. */
const keptEnds = 200;
/** Requests whose last move is remembered; the oldest are forgotten first, and could be moved again early. */
const keptMoves = 10_000;

export interface Journal {
  readonly recent: readonly MigrationEnded[];
  readonly movedAtMs: ReadonlyMap<string, number>;
  ended(ended: MigrationEnded): void;
  heldBack(count: number): void;
  listing(active: readonly MigrationPlan[], epoch: number): Omit<MigrationsReply, 'meta'>;
  /** Returns the plans that were active. */
  restore(saved: MigrationsReply): readonly MigrationPlan[];
}

export function createJournal(): Journal {
  let recent: MigrationEnded[] = [];
  let committed = 0;
  let aborted = 0;
  let heldBack = 0;
  const movedAtMs = new Map<string, number>();

  function rememberMove(requestId: string, atMs: number): void {
    movedAtMs.delete(requestId);
    movedAtMs.set(requestId, atMs);
    if (movedAtMs.size > keptMoves) movedAtMs.delete(movedAtMs.keys().next().value!);
  }

  return {
    get recent() {
      return recent;
    },
    movedAtMs,
    ended(ended) {
      if (ended.outcome === 'committed') committed += 1;
      else aborted += 1;
      recent = [ended, ...recent].slice(0, keptEnds);
      rememberMove(ended.requestId, ended.atMs);
    },
    heldBack(count) {
      heldBack += count;
    },
    listing: (active, epoch) => ({ active, recent, committed, aborted, heldBack, epoch }),
    restore(saved) {
      recent = [...saved.recent].slice(0, keptEnds);
      ({ committed, aborted, heldBack } = saved);
      for (const ended of [...recent].reverse()) rememberMove(ended.requestId, ended.atMs);
      return saved.active;
    },
  };
}
