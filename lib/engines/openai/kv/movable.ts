// Requests at a server as what can be moved: which of them, and what moving means for the engine that has them.
import { refusal } from '../../../../core/errors/switchyard-error.ts';
import type { Refusal } from '../../../../proto/gen/messages.ts';
import type { Clock } from '../../../ports/clock.ts';
import type { GenerateRequest } from '../../../ports/engines.ts';
import type { Generation } from '../generation.ts';
import type { Stopped } from './moved-state.ts';
import type { MovingHost } from './server-kv.ts';

export interface MovableEngine {
  readonly clock: Clock;
  readonly model: string;
  readonly generations: ReadonlyMap<string, Generation>;
  /** Tells at once what waits to be told. */
  flush(): void;
  /** Asks the server for the token ids of a prompt. */
  promptIds(request: GenerateRequest): Promise<readonly number[] | Refusal>;
  /** Puts one in the place of another: it is paused, and begins when it no longer is. */
  replace(before: Generation, stopped: Stopped): void;
  /** Begins what may begin. */
  startNext(): void;
  /** Frees its place without a word. */
  release(generation: Generation): void;
  tell(generation: Generation, type: 'paused' | 'resumed'): void;
  maxRunning(): number;
  started(): number;
  changed(): void;
}

export function movingHost(engine: MovableEngine): MovingHost {
  const find = (requestId: string, epoch: number) => engine.generations.get(`${requestId}@${epoch}`);
  return {
    clock: engine.clock,
    model: engine.model,
    whyNot(requestId, epoch): Refusal | undefined {
      const generation = find(requestId, epoch);
      if (generation) {
        const why = generation.whyNotMovable();
        return why === undefined ? undefined : refusal('not_movable', `${requestId} cannot move with its KV: ${why}`);
      }
      for (const { request } of engine.generations.values())
        if (request.requestId === requestId) return refusal('stale_epoch', `${requestId} is at epoch ${request.epoch} here, not ${epoch}`);
      return refusal('unknown_request', `${requestId} is not on this instance`);
    },
    stop(requestId, epoch) {
      engine.flush();
      const generation = find(requestId, epoch)!;
      const stopped = generation.stop();
      engine.replace(generation, stopped);
      engine.tell(generation, 'paused');
      engine.changed();
      return stopped;
    },
    promptIds: (request) => engine.promptIds(request),
    goOn(requestId, epoch) {
      const generation = find(requestId, epoch);
      if (!generation?.paused) return;
      generation.paused = false;
      engine.tell(generation, 'resumed');
      engine.startNext();
      engine.changed();
    },
    end(requestId, epoch) {
      const generation = find(requestId, epoch);
      if (generation?.paused) engine.release(generation);
    },
    running: () => engine.started(),
    maxRunning: () => engine.maxRunning(),
    changed: () => engine.changed(),
  };
}
