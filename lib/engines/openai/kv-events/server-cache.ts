// What a server has cached, as far as its KV events and the prompts that were served tell.
import type { Clock } from '../../../ports/clock.ts';
import { openZmqSocket } from '../../../zmq/zmq-socket.ts';
import { CachedPrompts } from './cached-prompts.ts';
import { followKvEvents, type KvEventStreamOptions } from './kv-event-stream.ts';

export interface ServerCacheOptions {
  readonly events: string;
  readonly replay: string | undefined;
  readonly clock: Clock;
  readonly onChange: () => void;
  readonly open?: KvEventStreamOptions['open'];
}

export class ServerCache {
  readonly #events: ReturnType<typeof followKvEvents>;
  readonly #prompts: CachedPrompts;
  #up = false;

  constructor({ open = openZmqSocket, ...options }: ServerCacheOptions) {
    this.#events = followKvEvents({
      ...options,
      open,
      onConnection: (why) => {
        this.#up = why === undefined;
        options.onChange();
      },
    });
    this.#prompts = new CachedPrompts(this.#events.blocks);
  }

  /** Its events come. */
  get isUp(): boolean {
    return this.#up;
  }

  get blocks(): number {
    return this.#events.blocks.size;
  }

  served(endpoint: string, body: Uint8Array, promptIds: readonly number[]): void {
    this.#prompts.served(endpoint, body, promptIds);
  }

  /** Undefined while events do not come: what is known may be wrong by now. */
  cached(): { readonly version: number; readonly hashes: readonly number[] } | undefined {
    return this.#up ? this.#prompts.cached() : undefined;
  }

  close(): void {
    this.#events.close();
  }
}
