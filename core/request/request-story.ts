// Drives one request actor through a story, for tests: checks the invariants after every step and keeps what was said.
import type { HandOverCommand, StreamEvent } from '../../proto/gen/messages.ts';
import type { Code } from '../errors/codes.ts';
import { refusal } from '../errors/switchyard-error.ts';
import { handOverReply } from './hand-over.ts';
import { assertRequestValid, requestWakeAt, stepRequest } from './request-actor.ts';
import { newRequest, type RequestEffect, type RequestFacts, type RequestLimits, type RequestMessage, type RequestState } from './request-state.ts';

export type Effects = readonly RequestEffect[];

export const limits: RequestLimits = {
  stallMs: 10_000,
  firstTokenMs: 60_000,
  askAgainMs: 100,
  queueGraceMs: 250,
  recoverMs: 30_000,
  avoidMs: 5_000,
  maxFailovers: 5,
  maxHandOvers: 16,
};

type Answer =
  | { outcome: 'assigned'; epoch: number; instanceId: string; goesOnAt?: string }
  | { outcome: 'queued'; position: number }
  | { outcome: 'refused'; code: Code; retryAfterMs?: number };

export class Story {
  readonly startMs = 1_000_000;
  nowMs = this.startMs;
  state: RequestState;
  capabilities: readonly string[] = [];
  /** Everything said so far. */
  readonly said: RequestEffect[] = [];

  constructor(facts: Partial<RequestFacts> = {}) {
    this.state = newRequest(
      {
        info: {
          requestId: 'req-1',
          pool: 'chat',
          model: 'llama',
          sloClass: 'standard',
          priority: 0,
          arrivalMs: this.nowMs,
          queueDeadlineMs: this.nowMs + 30_000,
          ttftSloMs: 0,
          tpotSloMs: 0,
          promptTokens: 10,
          maxOutputTokens: 100,
          prefixHashes: [],
          sessionId: '',
          fairnessId: '',
          keyId: '',
          gatewayId: 'gateway-1',
          traceparent: '',
        },
        streams: true,
        continuationNeeds: [],
        ...facts,
      },
      limits,
    );
  }

  /** A request that chat-1 serves under epoch 1. */
  static streaming(facts: Partial<RequestFacts> = {}, capabilities: readonly string[] = []): Story {
    const story = new Story(facts);
    story.capabilities = capabilities;
    story.begin();
    story.admit({ outcome: 'assigned', epoch: 1, instanceId: 'chat-1' });
    return story;
  }

  tell(message: RequestMessage): Effects {
    const [state, effects] = stepRequest(this.state, message, this.nowMs);
    assertRequestValid(state);
    this.state = state;
    this.said.push(...effects);
    return effects;
  }

  begin(): Effects {
    return this.tell({ type: 'begin' });
  }

  admit(answer: Answer, ask = this.state.ask): Effects {
    const address = 'instanceId' in answer ? `ws://${answer.instanceId}` : '';
    return this.tell({
      type: 'admitReplied',
      ask,
      capabilities: this.capabilities,
      reply: {
        outcome: answer.outcome,
        queuePosition: answer.outcome === 'queued' ? answer.position : 0,
        ownerEpoch: 1,
        refusal: answer.outcome === 'refused' ? refusal(answer.code, 'no', answer.retryAfterMs) : null,
        assignment:
          answer.outcome === 'assigned'
            ? {
                requestId: 'req-1',
                pool: 'chat',
                routerId: 'router-1',
                assignedAtMs: this.nowMs,
                epoch: answer.epoch,
                instanceId: answer.instanceId,
                address,
                handOff: answer.goesOnAt ? { instanceId: answer.goesOnAt, address: `ws://${answer.goesOnAt}` } : null,
              }
            : null,
      },
    });
  }

  /** Tokens `index` to `index + count - 1`, by whoever has the given epoch (default: the current one). */
  say(index: number, count: number, event: Partial<StreamEvent> = {}, noRetry = false): Effects {
    const ids = Array.from({ length: count }, (_, offset) => index + offset);
    return this.tell({
      type: 'spoken',
      noRetry,
      event: {
        stream: 1,
        epoch: this.state.epoch,
        index,
        tokenIds: ids,
        text: ids.map((id) => `t${id} `).join(''),
        data: this.bytes(index, count),
        finishReason: '',
        finalBody: new Uint8Array(),
        ...event,
      },
    });
  }

  /** What travels for these tokens. */
  bytes(index: number, count: number): Uint8Array {
    return new TextEncoder().encode(Array.from({ length: count }, (_, offset) => `data: ${index + offset}\n\n`).join(''));
  }

  handOver(command: {
    toEpoch: number;
    fromEpoch?: number;
    nextIndex?: number;
    mode?: HandOverCommand['mode'];
    reservationId?: string;
    migrationId?: string;
    instanceId?: string;
  }): Effects {
    return this.tell({
      type: 'handOver',
      capabilities: this.capabilities,
      command: {
        requestId: 'req-1',
        migrationId: 'm-1',
        fromEpoch: this.state.epoch,
        instanceId: 'chat-9',
        address: 'ws://chat-9',
        reservationId: 'res-1',
        mode: 'copy',
        nextIndex: this.state.log.length,
        ...command,
      },
    });
  }

  answer(migrationId = 'm-1') {
    return handOverReply(this.state, migrationId);
  }

  /** Lets time go by and wakes the actor when it wants to be woken. */
  pass(ms: number): Effects {
    const untilMs = this.nowMs + ms;
    let last: Effects = [];
    for (let wakes = 0; wakes < 10_000; wakes++) {
      const wakeAtMs = requestWakeAt(this.state);
      if (wakeAtMs === undefined || wakeAtMs > untilMs) break;
      this.nowMs = Math.max(this.nowMs, wakeAtMs);
      const effects = this.tell({ type: 'wake' });
      if (effects.length > 0) last = effects;
    }
    this.nowMs = untilMs;
    return last;
  }
}
