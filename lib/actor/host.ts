// Hosts the actors of one kind: mailbox, one step at a time, invariant check, wake-ups, effects, supervision.
//
// A step that throws, or breaks an invariant, is logged and counted, and its message is gone: one bad message cannot take
// down its neighbours. The actor goes on from the state before the message. One that changes its state in place has lost
// that: it rests, while messages wait in its mailbox, and starts anew from its snapshot. Rests, and wake-ups that fail,
// come at growing intervals.
import { ChurnMap } from '../../core/collections/churn-map.ts';
import type { Cancel, Clock } from '../ports/clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import type { Actor, Wake } from './actor.ts';

export interface ActorHost<State, Message, Effect = unknown> {
  /** False, and counted: the mailbox is full (during a step that tells the same actor, or while it rests). Starts the actor if need be. */
  tell(key: string, message: Message): boolean;
  /** Undefined: no such actor, or it rests. */
  state(key: string): State | undefined;
  keys(): string[];
  readonly size: number;
  /** Puts a restored state in place; its next wake-up is set. */
  restore(key: string, state: State): void;
  /** Steps and wake-ups follow `actor` from now on; states stay. For changed settings. */
  become(actor: Actor<State, Message, Effect>): void;
  stop(key: string): void;
  stopAll(): void;
}

interface Cell<State, Message> {
  state: State;
  mailbox: (Message | Wake)[];
  stepping: boolean;
  wakeAtMs: number | undefined;
  /** When the timer fires, which may be before `wakeAtMs`: it then looks again. A wake-up that only moves later sets no timer. */
  timerAtMs: number | undefined;
  cancelWake: Cancel | undefined;
  /** Waits for its next start, and then `cancelWake` cancels that. */
  resting: boolean;
  /** Steps that failed, each less than `forgetFailuresMs` after the one before. */
  failures: number;
  failedAtMs: number;
  /** No wake-up before this. */
  wakeNotBeforeMs: number;
}

const wake: Wake = { type: 'wake' };
const leastBetweenWakesMs = 1;
const firstRestMs = 100;
const longestRestMs = 10_000;
const forgetFailuresMs = 60_000;

/** The pause after so many failures in a row. */
export function restMs(failures: number): number {
  return Math.min(longestRestMs, firstRestMs * 2 ** Math.min(failures - 1, 20));
}

export interface HostOptions<State, Message, Effect> {
  readonly actor: Actor<State, Message, Effect>;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Carries out one effect. Results come back as messages. Must not throw; a throw is logged and counted. */
  readonly perform: (key: string, effect: Effect) => void;
  /** Messages that may wait at one actor; more are refused. */
  readonly mailboxLimit?: number;
  /** What an actor that changes its state in place starts from after a failure. Absent, or undefined: as at its first start. */
  readonly revive?: (key: string) => State | undefined | Promise<State | undefined>;
  /** After such a start. What it tells the actor comes before the messages that waited. */
  readonly restarted?: (key: string) => void;
  /** Called after each message, for inspection. */
  readonly inspect?: (key: string, message: Message | Wake, state: State) => void;
}

export function hostActors<State, Message, Effect>(options: HostOptions<State, Message, Effect>): ActorHost<State, Message, Effect> {
  const { clock, telemetry } = options;
  let { actor } = options;
  const mailboxLimit = options.mailboxLimit ?? 1024;
  const cells = new ChurnMap<string, Cell<State, Message>>();
  const crashed = telemetry.counter('switchyard_actor_crashes_total');
  const restarts = telemetry.counter('switchyard_actor_restarts_total');
  const refused = telemetry.counter('switchyard_mailbox_full_total');

  function report(what: string, key: string, thrown: unknown): void {
    crashed.add(1, { kind: actor.kind });
    telemetry.log.error(what, { actor: `${actor.kind}/${key}`, error: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown) });
  }

  function cellOf(key: string): Cell<State, Message> {
    let cell = cells.get(key);
    if (!cell) {
      cell = {
        state: actor.start(key, clock.now()),
        mailbox: [],
        stepping: false,
        wakeAtMs: undefined,
        timerAtMs: undefined,
        cancelWake: undefined,
        resting: false,
        failures: 0,
        failedAtMs: Number.NEGATIVE_INFINITY,
        wakeNotBeforeMs: 0,
      };
      cells.set(key, cell);
    }
    return cell;
  }

  function scheduleWake(key: string, cell: Cell<State, Message>): void {
    if (cell.resting) return;
    const wanted = actor.wakeAt(cell.state);
    const wakeAtMs = wanted === undefined ? undefined : Math.max(wanted, cell.wakeNotBeforeMs);
    cell.wakeAtMs = wakeAtMs;
    if (wakeAtMs === undefined) unset(cell);
    else if (cell.timerAtMs === undefined || wakeAtMs < cell.timerAtMs) setTimer(key, cell, wakeAtMs);
  }

  function setTimer(key: string, cell: Cell<State, Message>, atMs: number): void {
    cell.cancelWake?.();
    cell.timerAtMs = atMs;
    cell.cancelWake = clock.after(Math.max(0, atMs - clock.now()), () => {
      cell.timerAtMs = undefined;
      const { wakeAtMs } = cell;
      if (cells.get(key) !== cell || wakeAtMs === undefined) return;
      if (wakeAtMs > atMs) setTimer(key, cell, wakeAtMs);
      else deliver(key, cell, wake);
    });
  }

  function unset(cell: Cell<State, Message>): void {
    cell.cancelWake?.();
    cell.cancelWake = undefined;
    cell.timerAtMs = undefined;
  }

  function deliver(key: string, cell: Cell<State, Message>, message: Message | Wake): boolean {
    if (cell.mailbox.length >= mailboxLimit) {
      refused.add(1, { kind: actor.kind });
      return false;
    }
    cell.mailbox.push(message);
    if (!cell.stepping) work(key, cell);
    return true;
  }

  function work(key: string, cell: Cell<State, Message>): void {
    cell.stepping = true;
    try {
      while (!cell.resting && cell.mailbox.length > 0 && cells.get(key) === cell) take(key, cell, cell.mailbox.shift()!);
    } finally {
      cell.stepping = false;
    }
    if (cells.get(key) === cell) scheduleWake(key, cell);
  }

  function take(key: string, cell: Cell<State, Message>, message: Message | Wake): void {
    let effects: readonly Effect[];
    try {
      const [state, wanted] = actor.step(cell.state, message, clock.now());
      actor.assertValid(state);
      cell.state = state;
      effects = wanted;
      // A state that asks for the same wake-up again does not keep the process from everything else.
      if (message === wake) cell.wakeNotBeforeMs = clock.now() + leastBetweenWakesMs;
    } catch (thrown) {
      report('actor step failed', key, thrown);
      failed(key, cell, message);
      return;
    }
    options.inspect?.(key, message, cell.state);
    for (const effect of effects) {
      try {
        options.perform(key, effect);
      } catch (thrown) {
        report('actor effect failed', key, thrown);
      }
    }
  }

  function failed(key: string, cell: Cell<State, Message>, message: Message | Wake): void {
    const nowMs = clock.now();
    cell.failures = nowMs - cell.failedAtMs > forgetFailuresMs ? 1 : cell.failures + 1;
    cell.failedAtMs = nowMs;
    if (actor.changesInPlace) rest(key, cell);
    // The state still asks for this wake-up: without a pause it would fail again at once, for ever.
    else if (message === wake) cell.wakeNotBeforeMs = nowMs + restMs(cell.failures);
  }

  function rest(key: string, cell: Cell<State, Message>): void {
    cell.resting = true;
    unset(cell);
    cell.wakeAtMs = undefined;
    cell.cancelWake = clock.after(restMs(cell.failures), () => void restart(key, cell));
  }

  async function restart(key: string, cell: Cell<State, Message>): Promise<void> {
    let revived: State | undefined;
    try {
      revived = await options.revive?.(key);
    } catch (thrown) {
      telemetry.log.warn('snapshot of an actor not read, it starts without', { actor: `${actor.kind}/${key}`, error: String(thrown) });
    }
    if (cells.get(key) !== cell) return;
    cell.state = revived ?? actor.start(key, clock.now());
    const waiting = cell.mailbox;
    cell.mailbox = [];
    cell.resting = false;
    restarts.add(1, { kind: actor.kind });
    telemetry.log.warn('actor started anew', { actor: `${actor.kind}/${key}`, failures: cell.failures, waiting: waiting.length });
    options.restarted?.(key);
    cell.mailbox.push(...waiting);
    work(key, cell);
  }

  function stop(key: string): void {
    cells.get(key)?.cancelWake?.();
    cells.delete(key);
  }

  return {
    tell: (key, message) => deliver(key, cellOf(key), message),
    state(key) {
      const cell = cells.get(key);
      return cell?.resting ? undefined : cell?.state;
    },
    keys: () => [...cells.keys()],
    get size() {
      return cells.size;
    },
    restore(key, state) {
      stop(key);
      const cell = cellOf(key);
      cell.state = state;
      scheduleWake(key, cell);
    },
    become(changed) {
      actor = changed;
      for (const [key, cell] of cells) scheduleWake(key, cell);
    },
    stop,
    stopAll() {
      for (const key of [...cells.keys()]) stop(key);
    },
  };
}
