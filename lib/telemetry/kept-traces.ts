// Traces that are exported although the sampler left them out. Spans of every trace are kept in the ring; when a process
// finds that a trace is worth keeping, it exports what its ring has of it and what ends later, and tells the other
// processes to do the same. docs/decisions/0014-kept-traces.md says why.
import type { Cancel, Clock } from '../ports/clock.ts';
import type { Counter, KeepReason } from '../ports/telemetry.ts';

export interface KeptTracesOptions<T> {
  readonly clock: Clock;
  /** Spans of these traces that the ring has and that were not taken before. */
  readonly take: (traceIds: ReadonlySet<string>) => T[];
  readonly send: (span: T) => void;
  /** Counts by reason and result. */
  readonly counter: Counter;
}

export interface KeptTraces {
  /** This process wants the trace kept. Asking again reaches those who have forgotten it meanwhile. */
  keep(traceId: string, reason: KeepReason): void;
  /** Another process wants these kept. */
  heard(traceIds: readonly string[]): void;
  has(traceId: string): boolean;
  /** Called with traces that others should hear of. At most one listener. */
  tellOthers(tell: (traceIds: readonly string[]) => void): void;
  /** Exports and tells what is waiting, at once. */
  flush(): void;
}

/** New traces that a process may ask to keep: a flood of failures must not become a flood of exports. More are counted. */
export const keepsPerSecond = 50;
/** Unused ones of two seconds are saved up; `refused` leaves half of that to the others. */
const saved = 2 * keepsPerSecond;
/** Traces remembered for spans that end later. At the limit the oldest is forgotten. */
const remembered = 10_000;
/** Waits this long before looking through the ring, so that one look serves many traces. */
export const gatherMs = 250;
/** Traces that one look serves and one message names; the rest waits for the next. */
const perLook = 1_000;

export function createKeptTraces<T>({ clock, take, send, counter }: KeptTracesOptions<T>): KeptTraces {
  const kept = new Set<string>();
  const toLookUp = new Set<string>();
  const toTell = new Set<string>();
  let tell: (traceIds: readonly string[]) => void = () => {};
  let cancel: Cancel | undefined;
  let allowance = saved;
  let allowanceAtMs = clock.now();

  function allowed(reason: KeepReason): boolean {
    const nowMs = clock.now();
    allowance = Math.min(saved, allowance + (Math.max(0, nowMs - allowanceAtMs) / 1000) * keepsPerSecond);
    allowanceAtMs = nowMs;
    if (allowance < (reason === 'refused' ? saved / 2 : 1)) return false;
    allowance -= 1;
    return true;
  }

  function remember(traceId: string): void {
    kept.delete(traceId);
    kept.add(traceId);
    if (kept.size > remembered) kept.delete(first(kept)!);
    if (toLookUp.size >= remembered) return;
    toLookUp.add(traceId);
    cancel ??= clock.after(gatherMs, look);
  }

  function look(): void {
    cancel = undefined;
    for (const span of take(nextOf(toLookUp))) send(span);
    const told = nextOf(toTell);
    if (told.size > 0) tell([...told]);
    if (toLookUp.size + toTell.size > 0) cancel = clock.after(gatherMs, look);
  }

  return {
    keep(traceId, reason) {
      if (!kept.has(traceId)) {
        const result = allowed(reason) ? 'kept' : 'over_limit';
        counter.add(1, { reason, result });
        if (result === 'over_limit') return;
      }
      toTell.add(traceId);
      remember(traceId);
    },
    heard(traceIds) {
      for (const traceId of traceIds.slice(0, perLook)) remember(traceId);
    },
    has: (traceId) => kept.has(traceId),
    tellOthers(listener) {
      tell = listener;
    },
    flush() {
      cancel?.();
      look();
    },
  };
}

function first<T>(set: ReadonlySet<T>): T | undefined {
  return set.values().next().value;
}

/** Takes up to `perLook` out of `set`. */
function nextOf(set: Set<string>): Set<string> {
  const next = new Set<string>();
  for (const each of set) {
    if (next.size >= perLook) break;
    next.add(each);
    set.delete(each);
  }
  return next;
}
