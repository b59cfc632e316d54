// How one kind of server hands the KV of a request to another of its kind. What travels between the agents is a note of where the
// KV is; the servers move it themselves.
import type { Refusal } from '../../../../proto/gen/messages.ts';
import type { Fields } from '../client.ts';

export interface Giving {
  readonly reservationId: string;
  /** Prompt and output so far: what the KV is of, but for the last token at most. */
  readonly tokenIds: readonly number[];
  /** Other requests that the server is computing for us. */
  readonly others: number;
}

export interface HandOverWay {
  /**
   * Source, when the stream has been dropped: what the target needs to know, as JSON.
   * Refused: `transfer_failed`. @throws SwitchyardError `unreachable` | `timeout`
   */
  give(giving: Giving): Promise<Fields | Refusal>;
  /**
   * Target, before the take-over: the fields that the request is to have, by which the server uses the KV.
   * Refused: `transfer_failed`, `invalid_request`. @throws SwitchyardError `unreachable` | `timeout`
   */
  take(given: Fields): Promise<{ readonly extra: Fields } | Refusal>;
  /** Either side: nobody needs any more what was given. */
  forget(given: Fields): void;
}
