// What the request actor knows, hears and says. The actor is the one place that decides which instance may speak for a
// request; request-actor.ts has its step.
import type {
  AdmitReply,
  Carry,
  HandOff,
  HandOverCommand,
  HandOverReply,
  RequestDone,
  RequestInfo,
  RequestRow,
  StreamEvent,
  Usage,
} from '../../proto/gen/messages.ts';
import type { Code } from '../errors/codes.ts';
import type { ContinuationNeed } from '../openai/continuation.ts';
import { emptyTokenLog, type TokenLog } from './token-log.ts';

export type Phase = RequestRow['state'];

/** Fixed at the request's arrival. */
export interface RequestFacts {
  readonly info: Readonly<Omit<RequestInfo, 'generatedTokens' | 'avoidInstances' | 'epoch'>>;
  readonly streams: boolean;
  /** What an engine must declare before this request may be continued from its token log. */
  readonly continuationNeeds: readonly ContinuationNeed[];
}

/** Bounds of every wait and every retry. */
export interface RequestLimits {
  /** A running stream without a token for this long has failed. */
  readonly stallMs: number;
  /** The same before the first token of an epoch: waiting at the engine and prefill. */
  readonly firstTokenMs: number;
  /** Wait before asking admission again after no answer, or an answer that came suspiciously soon. */
  readonly askAgainMs: number;
  /** Added to the queue deadline, so that admission speaks first. */
  readonly queueGraceMs: number;
  /** A failed request must be running again after this long. */
  readonly recoverMs: number;
  /** After this part of recovery instances that failed are no longer avoided: one of them may be the only one. */
  readonly avoidMs: number;
  readonly maxFailovers: number;
  /** Outcomes of hand-overs remembered; older ones are forgotten. */
  readonly maxHandOvers: number;
}

export interface HandOverRecord {
  readonly migrationId: string;
  readonly reply: Omit<HandOverReply, 'meta'>;
}

export interface Ending {
  readonly outcome: RequestDone['outcome'];
  readonly code: Code | '';
  readonly message: string;
  readonly retryAfterMs: number;
  readonly finishReason: string;
}

export interface RequestState {
  readonly facts: RequestFacts;
  readonly limits: RequestLimits;
  readonly phase: Phase;
  readonly epoch: number;
  readonly instanceId: string;
  readonly address: string;
  /** Declared by the instance that speaks. */
  readonly capabilities: readonly string[];
  readonly log: TokenLog;
  /** What the engines that spoke have left for whoever continues. */
  readonly carry: Carry | undefined;
  /** Number of the newest question to admission; answers to older ones do not count. */
  readonly ask: number;
  readonly askedAtMs: number;
  /** When to ask again; undefined while an answer is awaited. */
  readonly askAtMs: number | undefined;
  /** Asking ends here. */
  readonly askUntilMs: number;
  readonly recoveringSinceMs: number;
  readonly queuePosition: number;
  /** Why asking has not led to anything yet. */
  readonly lastNo: { readonly code: Code; readonly message: string; readonly retryAfterMs: number } | undefined;
  /** When the stream was opened, or its last token came. */
  readonly lastHeardMs: number;
  /** When to look whether the stream has stalled. Moves only when reached, so that a token sets no timer. */
  readonly lookAtMs: number;
  /** Bytes have gone to the client. */
  readonly spoke: boolean;
  readonly failedInstances: readonly string[];
  readonly failovers: number;
  readonly migrations: number;
  /** Of these, the ones that its placement said: from where its prompt was computed to where it goes on. */
  readonly handOffs: number;
  /** Where its placement says that it goes on; empty: it stays, or is there. */
  readonly goesOnAt: string;
  readonly handOvers: readonly HandOverRecord[];
  readonly firstTokenMs: number;
  readonly lastTokenMs: number;
  readonly usage: Usage | undefined;
  readonly ending: Ending | undefined;
}

export type RequestMessage =
  | { readonly type: 'begin' }
  | { readonly type: 'admitReplied'; readonly ask: number; readonly reply: AdmitReply; readonly capabilities: readonly string[] }
  | { readonly type: 'admitFailed'; readonly ask: number; readonly code: Code; readonly message: string }
  | { readonly type: 'queueOwnerChanged' }
  /** `noRetry`: the budget for requests that engines turn away is spent. */
  | { readonly type: 'spoken'; readonly event: StreamEvent; readonly noRetry?: boolean }
  /** The link closed, or could not be opened. */
  | { readonly type: 'streamLost'; readonly epoch: number; readonly why: string }
  | { readonly type: 'instanceDead'; readonly instanceId: string }
  | { readonly type: 'handOver'; readonly command: HandOverCommand; readonly capabilities: readonly string[] }
  | { readonly type: 'handOverAsked'; readonly migrationId: string }
  | { readonly type: 'clientLeft' }
  | { readonly type: 'clientTooSlow' }
  /** The gateway stops and can wait no longer. */
  | { readonly type: 'cutShort' }
  /** The time of `requestWakeAt` has come. */
  | { readonly type: 'wake' };

export type RequestEffect =
  | { readonly type: 'ask'; readonly ask: number; readonly info: RequestInfo }
  | { readonly type: 'leaveQueue' }
  | {
      readonly type: 'open';
      readonly epoch: number;
      readonly instanceId: string;
      readonly address: string;
      readonly log: TokenLog;
      readonly carry: Carry | undefined;
      /** Not empty: take over what was copied there. */
      readonly reservationId: string;
      /** The instance is to hand it over after its first token. Undefined: it keeps it. */
      readonly handOff: HandOff | undefined;
    }
  | { readonly type: 'cancel'; readonly epoch: number; readonly reason: 'client_left' | 'moved' | 'superseded' | 'deadline' }
  | { readonly type: 'forward'; readonly data: Uint8Array }
  | { readonly type: 'dropped'; readonly reason: 'stale_epoch' | 'repeated' }
  | { readonly type: 'note'; readonly event: 'first_token' | 'failover' | 'hand_over'; readonly reason: string }
  /** The answer is whole: last bytes of a stream, or the body for a client that does not stream. */
  | { readonly type: 'complete'; readonly data: Uint8Array; readonly finalBody: Uint8Array }
  /** An error status when nothing has been sent, an error event otherwise. */
  | { readonly type: 'failClient'; readonly code: Code; readonly message: string; readonly retryAfterMs: number }
  /** Last effect of every request, exactly once. */
  | { readonly type: 'done'; readonly ending: Ending };

export type Step = readonly [RequestState, readonly RequestEffect[]];

export const nothing: readonly RequestEffect[] = [];

export function newRequest(facts: RequestFacts, limits: RequestLimits): RequestState {
  return {
    facts,
    limits,
    phase: 'admitting',
    epoch: 0,
    instanceId: '',
    address: '',
    capabilities: [],
    log: emptyTokenLog(),
    carry: undefined,
    ask: 0,
    askedAtMs: 0,
    askAtMs: undefined,
    askUntilMs: facts.info.queueDeadlineMs + limits.queueGraceMs,
    recoveringSinceMs: 0,
    queuePosition: 0,
    lastNo: undefined,
    lastHeardMs: 0,
    lookAtMs: 0,
    spoke: false,
    failedInstances: [],
    failovers: 0,
    migrations: 0,
    handOffs: 0,
    goesOnAt: '',
    handOvers: [],
    firstTokenMs: 0,
    lastTokenMs: 0,
    usage: undefined,
    ending: undefined,
  };
}

/** Waiting for admission. */
export function isAsking(phase: Phase): boolean {
  return phase === 'admitting' || phase === 'queued' || phase === 'recovering';
}

/** An instance speaks, or is about to. */
export function isSpeaking(phase: Phase): boolean {
  return phase === 'streaming' || phase === 'opening' || phase === 'moving';
}

/** An ended stand-in for a request that is not known. */
export const noRequest: RequestState = {
  ...newRequest(
    {
      info: {
        requestId: '',
        pool: '',
        model: '',
        sloClass: 'standard',
        priority: 0,
        arrivalMs: 0,
        queueDeadlineMs: 0,
        ttftSloMs: 0,
        tpotSloMs: 0,
        promptTokens: 0,
        maxOutputTokens: 0,
        prefixHashes: [],
        sessionId: '',
        fairnessId: '',
        keyId: '',
        gatewayId: '',
        traceparent: '',
      },
      streams: false,
      continuationNeeds: [],
    },
    { stallMs: 0, firstTokenMs: 0, askAgainMs: 0, queueGraceMs: 0, recoverMs: 0, avoidMs: 0, maxFailovers: 0, maxHandOvers: 0 },
  ),
  phase: 'failed',
  ending: { outcome: 'failed', code: 'unknown_request', message: '', retryAfterMs: 0, finishReason: '' },
};
