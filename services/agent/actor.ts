// One actor per instance: which streams it serves for which link, under which epoch. It decides what a repeated, late or
// outdated OpenStream means; the engine does the work. The step of an event that ends nothing changes no state.
import {
  asideRetryMs,
  type EngineHealth,
  probeAnswered,
  probeAtMs,
  probeBegan,
  requestFailed,
  requestWentWell,
  wellEngine,
} from '../../core/engine/engine-health.ts';
import { refusal } from '../../core/errors/switchyard-error.ts';
import { type Actor, assert, type Wake } from '../../lib/actor/actor.ts';
import type { EngineEvent } from '../../lib/ports/engines.ts';
import type { CancelStream, HandOff, OpenStream, Refusal, StreamEvent } from '../../proto/gen/messages.ts';
import { maxRemembered, NewestEpochs } from './newest-epochs.ts';

export interface OpenedStream {
  readonly requestId: string;
  readonly epoch: number;
  readonly link: number;
  /** The gateway's number, unique within the link. */
  readonly stream: number;
  /** Index of the first token that this stream is to say. */
  readonly firstIndex: number;
  readonly keyId: string;
  readonly sloClass: OpenStream['sloClass'];
  /** Undefined: it stays. */
  readonly handOff: HandOffJob | undefined;
}

/** A stream that is to be given away. */
export interface HandOffJob {
  readonly requestId: string;
  readonly epoch: number;
  readonly gatewayId: string;
  readonly to: HandOff;
  /** Of the request. */
  readonly traceparent: string;
}

export interface InstanceState {
  readonly instanceId: string;
  readonly accepting: boolean;
  readonly engine: EngineHealth;
  /** By request id. */
  readonly streams: ReadonlyMap<string, OpenedStream>;
  readonly newestEpoch: NewestEpochs;
}

export type InstanceMessage =
  | { readonly type: 'open'; readonly link: number; readonly open: OpenStream }
  | { readonly type: 'cancel'; readonly link: number; readonly cancel: CancelStream }
  | { readonly type: 'link_closed'; readonly link: number }
  | { readonly type: 'events'; readonly events: readonly EngineEvent[] }
  | { readonly type: 'released'; readonly requestId: string; readonly epoch: number }
  /** What the engine said to a probe; without an error it gave a token. */
  | { readonly type: 'probed'; readonly error: Refusal | undefined }
  | { readonly type: 'stop_accepting' }
  | { readonly type: 'end_all'; readonly error: Refusal };

/** Why a stream is over. */
export type EndReason = 'finished' | 'error' | 'released' | 'link_closed' | CancelStream['reason'];

export type InstanceEffect =
  | { readonly type: 'engine_open'; readonly link: number; readonly open: OpenStream }
  | { readonly type: 'engine_cancel'; readonly requestId: string; readonly epoch: number }
  | { readonly type: 'send'; readonly link: number; readonly events: readonly StreamEvent[] }
  | { readonly type: 'ended'; readonly requestId: string; readonly epoch: number; readonly why: EndReason }
  /** Their link is closed, perhaps because their gateway is gone. The engine has them still. */
  | { readonly type: 'orphaned'; readonly streams: readonly OpenedStream[] }
  /** It has begun to decode here, and is to go on elsewhere. */
  | { readonly type: 'hand_off'; readonly job: HandOffJob }
  | { readonly type: 'probe' }
  /** The engine gets no more requests, or gets them again. */
  | { readonly type: 'set_aside'; readonly aside: EngineHealth['aside'] }
  | { readonly type: 'report' };

type Step = readonly [InstanceState, readonly InstanceEffect[]];

const nothing: readonly InstanceEffect[] = [];
const noBytes = new Uint8Array(0);

export const instanceActor: Actor<InstanceState, InstanceMessage, InstanceEffect> = {
  kind: 'instance',
  start: (instanceId) => ({ instanceId, accepting: true, engine: wellEngine, streams: new Map(), newestEpoch: NewestEpochs.none }),
  step,
  wakeAt: (state) => (state.accepting ? probeAtMs(state.engine) : undefined),
  assertValid(state) {
    // Only the newest stream is looked at: the others were when they were.
    const { last } = state.newestEpoch;
    const stream = last === undefined ? undefined : state.streams.get(last);
    assert(!stream || stream.epoch === state.newestEpoch.get(stream.requestId), 'a stream speaks under the newest epoch of its request');
    assert(state.newestEpoch.size <= maxRemembered + state.streams.size, 'remembered epochs are bounded');
  },
};

/** Whether new requests may come. */
export function takesRequests({ accepting, engine }: Pick<InstanceState, 'accepting' | 'engine'>): boolean {
  return accepting && !engine.aside;
}

function step(state: InstanceState, message: InstanceMessage | Wake, nowMs: number): Step {
  switch (message.type) {
    case 'open':
      return open(state, message.link, message.open);
    case 'cancel': {
      const { requestId, epoch, reason } = message.cancel;
      const stream = state.streams.get(requestId);
      if (stream?.epoch !== epoch || stream.link !== message.link) return [state, nothing];
      return end(state, [stream], reason);
    }
    case 'link_closed': {
      const streams = [...state.streams.values()].filter((stream) => stream.link === message.link);
      if (streams.length === 0) return [state, nothing];
      const [next, effects] = end(state, streams, 'link_closed');
      return [next, [{ type: 'orphaned', streams }, ...effects]];
    }
    case 'events':
      return speak(state, message.events, nowMs);
    case 'released': {
      const stream = state.streams.get(message.requestId);
      if (stream?.epoch !== message.epoch) return [state, nothing];
      return end(state, [stream], 'released');
    }
    case 'stop_accepting':
      return state.accepting ? [{ ...state, accepting: false }, [{ type: 'report' }]] : [state, nothing];
    case 'end_all': {
      const streams = [...state.streams.values()];
      const [next, effects] = end(state, streams, 'error');
      return [next, [...streams.map(({ link, stream, epoch }) => tellError(link, stream, epoch, message.error)), ...effects]];
    }
    case 'probed':
      return judged(state, probeAnswered(state.engine, message.error, nowMs));
    case 'wake':
      return (probeAtMs(state.engine) ?? Number.POSITIVE_INFINITY) <= nowMs
        ? [{ ...state, engine: probeBegan(state.engine) }, [{ type: 'probe' }]]
        : [state, nothing];
  }
}

/** With the engine as it is thought of now; who gives it requests is told when that matters to them. */
function judged(state: InstanceState, engine: EngineHealth): Step {
  if (engine === state.engine) return [state, nothing];
  const next = { ...state, engine };
  if (engine.aside?.code === state.engine.aside?.code) return [next, nothing];
  return [next, [{ type: 'set_aside', aside: engine.aside }, { type: 'report' }]];
}

function open(state: InstanceState, link: number, wanted: OpenStream): Step {
  const { requestId, epoch, stream, keyId, sloClass, gatewayId, traceparent } = wanted;
  const newest = state.newestEpoch.get(requestId);
  // A repeat: the stream is open, or has ended and said so.
  if (newest === epoch) return [state, nothing];
  if (newest !== undefined && epoch < newest) {
    return [state, [tellError(link, stream, epoch, refusal('stale_epoch', `${requestId} is at epoch ${newest} here`))]];
  }
  if (!state.accepting) return [state, [tellError(link, stream, epoch, refusal('draining', 'this instance is stopping', 100))]];
  const { aside } = state.engine;
  // What was moved here has its blocks here: it goes on if it can.
  if (aside && wanted.reservationId === '') return [state, [tellError(link, stream, epoch, refusal(aside.code, aside.message, asideRetryMs))]];
  const before = state.streams.get(requestId);
  const [cleared, endings] = before ? end(state, [before], 'superseded') : [state, nothing];
  const handOff = wanted.handOff ? { requestId, epoch, gatewayId, to: wanted.handOff, traceparent } : undefined;
  const opened: OpenedStream = { requestId, epoch, link, stream, firstIndex: wanted.nextIndex, keyId, sloClass, handOff };
  const streams = new Map(cleared.streams).set(requestId, opened);
  return [
    { ...cleared, streams, newestEpoch: state.newestEpoch.with(requestId, epoch, (id) => streams.has(id)) },
    [...endings, { type: 'engine_open', link, open: wanted }],
  ];
}

function speak(state: InstanceState, events: readonly EngineEvent[], nowMs: number): Step {
  const byLink = new Map<number, StreamEvent[]>();
  const endings: InstanceEffect[] = [];
  const handOffs: InstanceEffect[] = [];
  let streams: Map<string, OpenedStream> | undefined;
  let { engine } = state;
  let begun = false;
  for (const { requestId, ...said } of events) {
    const stream = state.streams.get(requestId);
    if (stream?.epoch !== said.epoch) continue;
    const line = byLink.get(stream.link);
    const event = { ...said, stream: stream.stream };
    if (line) line.push(event);
    else byLink.set(stream.link, [event]);
    if (said.error) engine = requestFailed(engine, said.error, nowMs);
    else if (said.index === stream.firstIndex && said.tokenIds.length > 0) {
      engine = requestWentWell(engine);
      begun = true;
    }
    if (said.finishReason === '' && !said.error) {
      if (stream.handOff && said.index === stream.firstIndex && said.tokenIds.length > 0) handOffs.push({ type: 'hand_off', job: stream.handOff });
      continue;
    }
    streams ??= new Map(state.streams);
    streams.delete(requestId);
    endings.push({ type: 'ended', requestId, epoch: said.epoch, why: said.error ? 'error' : 'finished' });
  }
  const sends: InstanceEffect[] = [];
  for (const [link, line] of byLink) sends.push({ type: 'send', link, events: line });
  // From now on it decodes, and can be moved with its KV: who plans should not have to wait for the next report.
  if (begun) sends.push({ type: 'report' });
  sends.push(...handOffs);
  const [next, judgement] = judged(streams ? { ...state, streams } : state, engine);
  return [next, endings.length + judgement.length > 0 ? [...sends, ...endings, ...judgement] : sends];
}

/** Ends streams without a word to their gateway. */
function end(state: InstanceState, ending: readonly OpenedStream[], why: EndReason): Step {
  if (ending.length === 0) return [state, nothing];
  const streams = new Map(state.streams);
  const effects: InstanceEffect[] = [];
  for (const { requestId, epoch } of ending) {
    streams.delete(requestId);
    effects.push({ type: 'engine_cancel', requestId, epoch }, { type: 'ended', requestId, epoch, why });
  }
  return [{ ...state, streams }, effects];
}

function tellError(link: number, stream: number, epoch: number, error: Refusal): InstanceEffect {
  const event: StreamEvent = { stream, epoch, index: 0, tokenIds: [], text: '', data: noBytes, finishReason: '', finalBody: noBytes, error };
  return { type: 'send', link, events: [event] };
}
