// What is known of one instance: its newest report, its health judged by silence, its cordon.
// Pure: services/instance-tracker hosts it as an actor.
import type { InstanceStatus, InstanceView } from '../../proto/gen/messages.ts';

export type Health = InstanceView['health'];
export type CordonReason = InstanceView['cordonReason'];

export interface TrackingLimits {
  /** A report older than this makes the instance stale. */
  readonly staleMs: number;
  /** Silence after which an instance is suspect, then dead. */
  readonly suspectMs: number;
  readonly deadMs: number;
  /** A dead instance is forgotten after this much silence. One that people cordoned stays longer, so that its cordon is not lost. */
  readonly forgetMs: number;
  readonly forgetCordonedMs: number;
}

export interface InstanceState {
  readonly instanceId: string;
  /** Undefined: only a cordon is known of it yet. */
  readonly status: InstanceStatus | undefined;
  /** When the newest report came in, tracker's clock. */
  readonly receivedAtMs: number;
  /** Silence is counted from here: the newest report, or the end of a time in which this tracker could not hear. */
  readonly silentSinceMs: number;
  readonly health: Health;
  readonly stale: boolean;
  readonly cordoned: boolean;
  readonly cordonReason: CordonReason;
  /** While this tracker hears nobody, silence says nothing about the instance. */
  readonly deaf: boolean;
}

export type ReportResult = 'taken' | 'repeated' | 'out_of_order';

export function startInstance(instanceId: string, nowMs: number): InstanceState {
  return {
    instanceId,
    status: undefined,
    receivedAtMs: nowMs,
    silentSinceMs: nowMs,
    health: 'suspect',
    stale: true,
    cordoned: false,
    cordonReason: 'none',
    deaf: false,
  };
}

/** Restored from a snapshot: suspect and stale until it reports. */
export function restoreInstance(view: InstanceView, nowMs: number): InstanceState | undefined {
  if (!view.status) return undefined;
  return {
    ...startInstance(view.status.instanceId, nowMs),
    status: view.status,
    receivedAtMs: view.receivedAtMs,
    cordoned: view.cordoned,
    cordonReason: view.cordonReason,
  };
}

/** Negative: `a` is older. Ordered by (incarnation, sequence number), never by time of arrival. */
export function compareReports(
  a: Pick<InstanceStatus, 'incarnation' | 'sequenceNumber'>,
  b: Pick<InstanceStatus, 'incarnation' | 'sequenceNumber'>,
): number {
  return a.incarnation - b.incarnation || a.sequenceNumber - b.sequenceNumber;
}

/**
 * Takes a report if it is newer than what is known. A repeated or older one changes nothing: it may have been delayed,
 * so it is no sign of life either.
 */
export function takeReport(state: InstanceState, status: InstanceStatus, nowMs: number): readonly [InstanceState, ReportResult] {
  const order = state.status ? compareReports(status, state.status) : 1;
  if (order <= 0) return [state, order === 0 ? 'repeated' : 'out_of_order'];
  return [{ ...state, status, receivedAtMs: nowMs, silentSinceMs: nowMs, health: 'healthy', stale: false }, 'taken'];
}

/** Judges health by silence. Health never improves here: only a report does that. */
export function judgeSilence(state: InstanceState, nowMs: number, limits: TrackingLimits): InstanceState {
  const stale = state.stale || nowMs - state.receivedAtMs >= limits.staleMs;
  const silenceMs = nowMs - state.silentSinceMs;
  let health = state.health;
  if (!state.deaf && health !== 'dead') {
    if (silenceMs >= limits.deadMs) health = 'dead';
    else if (silenceMs >= limits.suspectMs) health = 'suspect';
  }
  return stale === state.stale && health === state.health ? state : { ...state, stale, health };
}

/** The tracker hears nobody (its bus is away, or its process was held up): nothing is concluded from silence until it hears again. */
export function setDeaf(state: InstanceState, deaf: boolean, nowMs: number): InstanceState {
  if (deaf === state.deaf) return state;
  return deaf ? { ...state, deaf } : { ...state, deaf, silentSinceMs: nowMs };
}

/** Repeats are fine. Lifting a cordon clears its reason. */
export function setCordon(state: InstanceState, cordoned: boolean, reason: CordonReason): InstanceState {
  const cordonReason = cordoned ? reason : 'none';
  if (cordoned === state.cordoned && cordonReason === state.cordonReason) return state;
  return { ...state, cordoned, cordonReason };
}

/** True: gone for so long that it is to be forgotten. An instance stopped by scale-in takes its cordon with it. */
export function isForgettable(state: InstanceState, nowMs: number, limits: TrackingLimits): boolean {
  if (state.deaf) return false;
  const kept = state.cordoned && state.cordonReason !== 'scale_in';
  const silenceMs = nowMs - state.silentSinceMs;
  return (state.health === 'dead' || !state.status) && silenceMs >= (kept ? limits.forgetCordonedMs : limits.forgetMs);
}

/** When silence will next change something, ms; undefined while deaf. */
export function nextJudgementMs(state: InstanceState, limits: TrackingLimits): number | undefined {
  const since = state.silentSinceMs;
  const times: number[] = [];
  if (!state.stale) times.push(state.receivedAtMs + limits.staleMs);
  if (!state.deaf) {
    if (state.health === 'healthy') times.push(since + limits.suspectMs);
    else if (state.health === 'suspect') times.push(since + limits.deadMs);
    else times.push(since + (state.cordoned && state.cordonReason !== 'scale_in' ? limits.forgetCordonedMs : limits.forgetMs));
  }
  return times.length > 0 ? Math.min(...times) : undefined;
}

/** True when consumers of the view should hear of the change at once; token counts alone can wait for the next regular view. */
export function isMeaningfulChange(before: InstanceState, after: InstanceState): boolean {
  if (before === after) return false;
  if (before.health !== after.health || before.stale !== after.stale) return true;
  if (before.cordoned !== after.cordoned || before.cordonReason !== after.cordonReason) return true;
  const a = before.status;
  const b = after.status;
  if (a === b) return false;
  if (!a || !b) return true;
  return (
    a.incarnation !== b.incarnation ||
    a.accepting !== b.accepting ||
    a.address !== b.address ||
    a.freeBlocks !== b.freeBlocks ||
    a.reservedBlocks !== b.reservedBlocks ||
    a.running !== b.running ||
    a.waiting !== b.waiting ||
    a.waitingBlocks !== b.waitingBlocks ||
    a.sequences.length !== b.sequences.length ||
    a.sequences.some((sequence, i) => sequence.requestId !== b.sequences[i]?.requestId || sequence.state !== b.sequences[i]?.state)
  );
}
