// The request actor: who may speak for a request. Pure; the gateway hosts it and carries out its effects.
//
//   admitting -> queued -> opening -> streaming -> completed
//        a failed instance: recovering -> opening      a hand-over: moving -> streaming
//        the ends: completed, aborted (the client left), failed, refused (before any instance was assigned)
//
// However events of old and new epochs, repeats, gaps, hand-overs and failures interleave: every token goes to the client
// once and in order, only the current epoch speaks, and the request ends once.
import { admitFailed, admitReplied, ask, queueOwnerChanged, wakeWhileAsking } from './asking.ts';
import { clientLeft, clientTooSlow, cutShort } from './ending.ts';
import { handOver, handOverAsked } from './hand-over.ts';
import { recover, wakeWhileSpeaking } from './recovery.ts';
import { isAsking, isSpeaking, nothing, type RequestMessage, type RequestState, type Step } from './request-state.ts';
import { spoken } from './speaking.ts';

/** One message. An ended request hears nothing any more. */
export function stepRequest(state: RequestState, message: RequestMessage, nowMs: number): Step {
  if (state.ending) return [state, nothing];
  switch (message.type) {
    case 'spoken':
      return spoken(state, message.event, nowMs, message.noRetry);
    case 'begin':
      return state.ask === 0 ? ask(state, nowMs) : [state, nothing];
    case 'admitReplied':
      return admitReplied(state, message, nowMs);
    case 'admitFailed':
      return admitFailed(state, message, nowMs);
    case 'queueOwnerChanged':
      return queueOwnerChanged(state, nowMs);
    case 'streamLost':
      return isSpeaking(state.phase) && message.epoch === state.epoch ? recover(state, message.why, nowMs) : [state, nothing];
    case 'instanceDead':
      return isSpeaking(state.phase) && message.instanceId === state.instanceId ? recover(state, 'instance_dead', nowMs) : [state, nothing];
    case 'handOver':
      return handOver(state, message.command, message.capabilities, nowMs);
    case 'handOverAsked':
      return handOverAsked(state, message.migrationId);
    case 'clientLeft':
      return clientLeft(state);
    case 'clientTooSlow':
      return clientTooSlow(state);
    case 'cutShort':
      return cutShort(state);
    case 'wake':
      return isAsking(state.phase) ? wakeWhileAsking(state, nowMs) : wakeWhileSpeaking(state, nowMs);
  }
}

/** When the request wants a `wake`. */
export function requestWakeAt(state: RequestState): number | undefined {
  if (isAsking(state.phase)) return Math.min(state.askAtMs ?? Number.POSITIVE_INFINITY, state.askUntilMs);
  return isSpeaking(state.phase) ? state.lookAtMs : undefined;
}

/** @throws Error naming the broken invariant */
export function assertRequestValid(state: RequestState): void {
  const { log, limits, phase } = state;
  assert(!log.exact || log.length <= state.facts.info.maxOutputTokens, 'the token log is within the request');
  assert(!log.exact || log.ids.length >= log.length, 'the token log has its tokens');
  assert(state.failovers <= limits.maxFailovers, 'fail-overs are bounded');
  assert(state.handOvers.length <= limits.maxHandOvers, 'remembered hand-overs are bounded');
  assert(!isSpeaking(phase) || (state.epoch > 0 && state.instanceId !== ''), 'who speaks has an epoch and a name');
  assert((state.ending === undefined) === (isAsking(phase) || isSpeaking(phase)), 'an ended request has an ending');
}

function assert(condition: boolean, what: string): void {
  if (!condition) throw new Error(`invariant broken: ${what}`);
}
