// Hosts the actors of one kind: mailbox, one step at a time, invariant check, wake-ups, effects.
// A step that throws leaves the actor as it was before the message, is logged and counted: one bad message cannot
// take down its neighbours.
import type { Cancel, Clock } from '../ports/clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import type { Actor, Wake } from './actor.ts';

export interface ActorHost<State, Message, Effect = unknown> {
  /** False: the mailbox is full (only during a step that tells the same actor, or while paused). Starts the actor if need be. */
  tell(key: string, message: Message): boolean;
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
  cancelWake: Cancel | undefined;
}

export interface HostOptions<State, Message, Effect> {
  readonly actor: Actor<State, Message, Effect>;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Carries out one effect. Results come back as messages. Must not throw; a throw is logged and counted. */
  readonly perform: (key: string, effect: Effect) => void;
  /** Messages that may wait at one actor; more are refused. */
  readonly mailboxLimit?: number;
  /** Called after each message, for inspection. */
  readonly inspect?: (key: string, message: Message | Wake, state: State) => void;
}

export function hostActors<State, Message, Effect>(options: HostOptions<State, Message, Effect>): ActorHost<State, Message, Effect> {
  const { clock, telemetry } = options;
  let { actor } = options;
  const mailboxLimit = options.mailboxLimit ?? 1024;
  const cells = new Map<string, Cell<State, Message>>();
  const crashed = telemetry.counter('switchyard_actor_crashes_total');

  function report(what: string, key: string, thrown: unknown): void {
    crashed.add(1, { kind: actor.kind });
    telemetry.log.error(what, { actor: `${actor.kind}/${key}`, error: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown) });
  }

  function cellOf(key: string): Cell<State, Message> {
    let cell = cells.get(key);
    if (!cell) {
      cell = { state: actor.start(key, clock.now()), mailbox: [], stepping: false, wakeAtMs: undefined, cancelWake: undefined };
      cells.set(key, cell);
    }
    return cell;
  }

  function scheduleWake(key: string, cell: Cell<State, Message>): void {
    const wakeAtMs = actor.wakeAt(cell.state);
    if (wakeAtMs === cell.wakeAtMs) return;
    cell.cancelWake?.();
    cell.wakeAtMs = wakeAtMs;
    cell.cancelWake =
      wakeAtMs === undefined
        ? undefined
        : clock.after(Math.max(0, wakeAtMs - clock.now()), () => {
            cell.wakeAtMs = undefined;
            if (cells.get(key) === cell) deliver(key, cell, { type: 'wake' });
          });
  }

  function deliver(key: string, cell: Cell<State, Message>, message: Message | Wake): boolean {
    if (cell.mailbox.length >= mailboxLimit) return false;
    cell.mailbox.push(message);
    if (cell.stepping) return true;
    cell.stepping = true;
    try {
      for (let next = cell.mailbox.shift(); next !== undefined && cells.get(key) === cell; next = cell.mailbox.shift()) take(key, cell, next);
    } finally {
      cell.stepping = false;
    }
    if (cells.get(key) === cell) scheduleWake(key, cell);
    return true;
  }

  function take(key: string, cell: Cell<State, Message>, message: Message | Wake): void {
    let effects: readonly Effect[];
    try {
      const [state, wanted] = actor.step(cell.state, message, clock.now());
      actor.assertValid(state);
      cell.state = state;
      effects = wanted;
    } catch (thrown) {
      report('actor step failed', key, thrown);
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

  function stop(key: string): void {
    cells.get(key)?.cancelWake?.();
    cells.delete(key);
  }

  return {
    tell: (key, message) => deliver(key, cellOf(key), message),
    state: (key) => cells.get(key)?.state,
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
