// The gateway's side of the admission protocol, and nothing else of a gateway.
import { aRequest } from '../../../core/routing/routing-fixtures.ts';
import { admit, leaveQueue, queueOwnerChanged, requestsDone } from '../../../lib/contracts.ts';
import { sleep } from '../../../lib/ports/clock.ts';
import type { Ports } from '../../../lib/ports/ports.ts';
import type { AdmitReply, RequestInfo } from '../../../proto/gen/messages.ts';
import type { TestFleet } from './test-fleet.ts';

export type Ending = { readonly outcome: 'done' | 'left' } | { readonly outcome: 'refused'; readonly code: string; readonly retryAfterMs: number };

/** Follows the gateway's side of the protocol and nothing else. */
export class TestGateway {
  readonly endings = new Map<string, Ending>();
  readonly replies: { requestId: string; reply: AdmitReply; atMs: number }[] = [];
  readonly #fleet: TestFleet;
  readonly #ports: Ports;
  readonly #open = new Map<string, { request: RequestInfo; epoch: number; running: boolean; left: boolean; runMs: number }>();

  constructor(fleet: TestFleet, id: string, ports = fleet.world.ports(id)) {
    this.#fleet = fleet;
    this.#ports = ports;
    ports.bus.subscribe(queueOwnerChanged, ['*'], ({ pool }) => {
      for (const [requestId, { request, running }] of this.#open) if (!running && request.pool === pool) void this.#ask(requestId);
    });
  }

  /** Resolves when the request has ended. `runMs` is how long it runs once it has an instance. */
  async submit(requestId: string, partial: Partial<RequestInfo> = {}, runMs = 1_000): Promise<Ending> {
    const { clock } = this.#ports;
    const arrivalMs = clock.now();
    const request = aRequest(requestId, { arrivalMs, queueDeadlineMs: arrivalMs + 30_000, ...partial });
    this.#open.set(requestId, { request, epoch: request.epoch, running: false, left: false, runMs });
    while (!this.endings.has(requestId)) {
      const state = this.#open.get(requestId)!;
      if (state.left) this.#end(requestId, { outcome: 'left' });
      else if (state.running) await sleep(clock, 10);
      else if (!(await this.#ask(requestId))) await sleep(clock, 100);
    }
    return this.endings.get(requestId)!;
  }

  leave(requestId: string): void {
    const state = this.#open.get(requestId);
    if (!state) return;
    state.left = true;
    this.#ports.bus.publish(leaveQueue, ['chat'], { requestId, pool: 'chat' });
  }

  /** The instance of these requests died: they ask again under their epoch. */
  failOver(requestIds: readonly string[], instanceId: string): void {
    for (const requestId of requestIds) {
      const state = this.#open.get(requestId);
      if (!state?.running) continue;
      state.running = false;
      state.request = { ...state.request, generatedTokens: 5, avoidInstances: [instanceId] };
    }
  }

  async #ask(requestId: string): Promise<boolean> {
    const state = this.#open.get(requestId)!;
    try {
      const request = { ...state.request, epoch: state.epoch };
      const reply = await this.#ports.bus.request(admit, [request.pool], { request }, { timeoutMs: 1_500 });
      this.replies.push({ requestId, reply, atMs: this.#ports.clock.now() });
      this.#take(requestId, reply);
      return true;
    } catch {
      return false;
    }
  }

  #take(requestId: string, reply: AdmitReply): void {
    const state = this.#open.get(requestId);
    if (!state || state.running || state.left || this.endings.has(requestId)) return;
    if (reply.outcome === 'refused') {
      const { code, retryAfterMs } = reply.refusal!;
      this.#end(requestId, { outcome: 'refused', code, retryAfterMs });
    } else if (reply.outcome === 'assigned' && reply.assignment!.epoch === state.epoch + 1) {
      state.epoch += 1;
      state.running = true;
      this.#fleet.run(reply.assignment!);
      const { epoch } = state;
      this.#ports.clock.after(state.runMs, () => {
        if (state.running && state.epoch === epoch) this.#end(requestId, { outcome: 'done' }, reply.assignment!.instanceId);
      });
    }
  }

  #end(requestId: string, ending: Ending, instanceId = ''): void {
    const { request, epoch } = this.#open.get(requestId)!;
    this.endings.set(requestId, ending);
    this.#open.delete(requestId);
    this.#fleet.finish(requestId);
    const outcome = { done: 'completed', left: 'aborted', refused: 'refused' } as const;
    const { pool, model, keyId, promptTokens, arrivalMs, sloClass } = request;
    const done = {
      ...{ requestId, pool, model, keyId, instanceId, epoch, promptTokens, arrivalMs, sloClass },
      outcome: outcome[ending.outcome],
      code: '',
      cachedTokens: 0,
      outputTokens: instanceId === '' ? 0 : 10,
      firstTokenMs: 0,
      endMs: this.#ports.clock.now(),
      migrations: 0,
      failovers: 0,
      gatewayId: this.#ports.identity.id,
      traceId: '',
    };
    void this.#ports.bus.record(requestsDone, [pool], { ended: [done] }, { id: requestId });
  }
}
