// Hand-over of a running request to another instance: a compare-and-set of the epoch, the point of no return of a
// migration. Every decided hand-over is remembered by its migration id, so that a repeated command gets the same answer.
import type { HandOverCommand, HandOverReply } from '../../proto/gen/messages.ts';
import type { Code } from '../errors/codes.ts';
import { refusal } from '../errors/switchyard-error.ts';
import { carriesKv } from '../migration/mode.ts';
import { cannotContinue } from './continuing.ts';
import { isSpeaking, nothing, type RequestState, type Step } from './request-state.ts';

type Outcome = Omit<HandOverReply, 'meta'>;

/** The remembered answer to a hand-over, if there is one. */
export function handOverReply(state: RequestState, migrationId: string): Outcome | undefined {
  return state.handOvers.find((record) => record.migrationId === migrationId)?.reply;
}

export function handOver(state: RequestState, command: HandOverCommand, capabilities: readonly string[], nowMs: number): Step {
  if (handOverReply(state, command.migrationId)) return [state, nothing];
  const no = whyNot(state, command, capabilities);
  if (no) return [remember(state, command.migrationId, refused(state, no.code, no.message)), nothing];

  const { toEpoch: epoch, instanceId, address } = command;
  const moved: RequestState = {
    ...state,
    phase: 'moving',
    epoch,
    instanceId,
    address,
    capabilities,
    migrations: state.migrations + 1,
    handOffs: state.handOffs + (instanceId === state.goesOnAt ? 1 : 0),
    goesOnAt: '',
    lastHeardMs: nowMs,
    lookAtMs: nowMs + state.limits.stallMs,
  };
  return [
    remember(moved, command.migrationId, { outcome: 'committed', epoch, instanceId }),
    [
      { type: 'cancel', epoch: state.epoch, reason: 'moved' },
      {
        type: 'open',
        epoch,
        instanceId,
        address,
        log: state.log,
        carry: state.carry,
        reservationId: carriesKv(command.mode) ? command.reservationId : '',
        handOff: undefined,
      },
      { type: 'note', event: 'hand_over', reason: command.mode },
    ],
  ];
}

/**
 * Somebody will act on what became of a hand-over, because the answer was lost. When the command itself never came, it is
 * refused here and now: one that arrives later must not commit.
 */
export function handOverAsked(state: RequestState, migrationId: string): Step {
  if (handOverReply(state, migrationId)) return [state, nothing];
  return [remember(state, migrationId, refused(state, 'cancelled', 'asked about before it arrived, and refused since then')), nothing];
}

function whyNot(state: RequestState, command: HandOverCommand, capabilities: readonly string[]): { code: Code; message: string } | undefined {
  if (!isSpeaking(state.phase)) return { code: 'not_movable', message: `the request is ${state.phase}` };
  if (command.fromEpoch !== state.epoch) return { code: 'stale_epoch', message: `the epoch is ${state.epoch}, not ${command.fromEpoch}` };
  if (command.toEpoch <= state.epoch) return { code: 'stale_epoch', message: `epoch ${command.toEpoch} does not follow ${state.epoch}` };
  if (carriesKv(command.mode)) {
    const behind = command.nextIndex < state.log.length;
    return behind ? { code: 'not_movable', message: `the copy has ${command.nextIndex} tokens, the client ${state.log.length}` } : undefined;
  }
  const unmet = cannotContinue(state, capabilities);
  return unmet ? { code: 'cannot_continue', message: `a request with ${unmet} cannot be continued from its tokens` } : undefined;
}

function refused(state: RequestState, code: Code, message: string): Outcome {
  return { outcome: 'refused', epoch: state.epoch, instanceId: state.instanceId, refusal: refusal(code, message) };
}

/** At the limit the oldest is forgotten. Its epochs have passed by then, so a late repeat is refused, never committed twice. */
function remember(state: RequestState, migrationId: string, reply: Outcome): RequestState {
  return { ...state, handOvers: [...state.handOvers, { migrationId, reply }].slice(-state.limits.maxHandOvers) };
}
