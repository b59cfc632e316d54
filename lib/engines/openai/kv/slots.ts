// llama-server with --slot-save-path: the source's server saves the slot of the request to a file, the target's restores it into an
// idle one, both over HTTP; the folder is one that both can read. Whatever is in a slot, an answer is right: the server gets the
// whole context each time, and computes what the slot has not got. As observed on llama.cpp v0.5.0.
import { refusal } from '../../../../core/errors/switchyard-error.ts';
import { type Clock, sleep } from '../../../ports/clock.ts';
import { asFields, parsed } from '../chunk.ts';
import { jsonOf, type ServerClient } from '../client.ts';
import type { HandOverWay } from './hand-over-way.ts';

const withinMs = 20_000;
/** A dropped stream leaves its slot at the next token. */
const idleWithinMs = 1_000;
const lookMs = 5;

export interface SlotsOptions {
  readonly client: ServerClient;
  readonly clock: Clock;
  /** Removes a saved file, if it is there. Failures are no matter: the file is small beside its disk. */
  readonly remove: (file: string) => void;
}

export function slotsWay({ client, clock, remove }: SlotsOptions): HandOverWay {
  async function slots(): Promise<{ id: number; busy: boolean }[]> {
    const { body, status } = await client.get('/slots', withinMs);
    const listed: unknown = status === 200 ? JSON.parse(body.toString()) : [];
    const rows = Array.isArray(listed) ? listed.map((row) => asFields(row) ?? {}) : [];
    return rows.flatMap(({ id, is_processing }) => (typeof id === 'number' ? [{ id, busy: is_processing === true }] : []));
  }

  async function settled(others: number): Promise<void> {
    const untilMs = clock.now() + idleWithinMs;
    while ((await slots()).filter(({ busy }) => busy).length > others && clock.now() < untilMs) await sleep(clock, lookMs);
  }

  return {
    async give({ reservationId, tokenIds, others }) {
      await settled(others);
      // It takes the slot that has the most of this context: the one that the request was in.
      const found = await client.post('/completion', { prompt: tokenIds, n_predict: 0, cache_prompt: true, temperature: 0 }, withinMs);
      const slot = jsonOf(found)?.id_slot;
      if (typeof slot !== 'number' || slot < 0) return refusal('transfer_failed', `${client.url} answers ${found.status} without naming a slot`);
      const file = `switchyard-${reservationId.replace(/[^A-Za-z0-9-]/g, '-').slice(0, 80)}.bin`;
      const saved = await client.post(`/slots/${slot}?action=save`, { filename: file }, withinMs);
      const count = jsonOf(saved)?.n_saved;
      if (typeof count !== 'number') return refusal('transfer_failed', `${client.url} cannot save slot ${slot}: ${messageIn(saved.body)}`);
      return { file, savedTokens: count };
    },
    async take(given) {
      if (typeof given.file !== 'string' || !/^switchyard-[A-Za-z0-9-]+\.bin$/.test(given.file))
        return refusal('invalid_request', 'this does not name a saved slot');
      const idle = (await slots()).find(({ busy }) => !busy);
      if (!idle) return refusal('transfer_failed', `no slot of ${client.url} is idle`);
      const restored = await client.post(`/slots/${idle.id}?action=restore`, { filename: given.file }, withinMs);
      remove(given.file);
      if (restored.status !== 200)
        return refusal(
          'transfer_failed',
          `${client.url} cannot restore ${given.file}: ${messageIn(restored.body)}. Do both servers have the same --slot-save-path?`,
        );
      return { extra: { id_slot: idle.id, cache_prompt: true } };
    },
    forget(given) {
      if (typeof given.file === 'string') remove(given.file);
    },
  };
}

function messageIn(body: Buffer): string {
  return String(asFields(parsed(body.toString())?.error)?.message ?? body.toString().slice(0, 200));
}
