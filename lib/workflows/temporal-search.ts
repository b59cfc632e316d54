// Whether a Temporal server knows our search attributes. It is told of them when it does not and lets us; where it does not
// let us, workflows are started without, and found by their memos.
import type { Client } from '@temporalio/client';
import type { Telemetry } from '../ports/telemetry.ts';
import { type SearchAttributeName, searchAttributeTypes } from './workflow-search.ts';

export interface TemporalSearch {
  /** Never throws. */
  available(client: Client, namespace: string): Promise<boolean>;
  /** The server refused a workflow that had them: it is asked again later. */
  refused(): void;
}

/** After an answer of no. */
const askAgainMs = 60_000;
/** Numbers of Temporal's API (IndexedValueType). */
const typeNumbers = { Keyword: 2, KeywordList: 7 } as const;

export function createTemporalSearch(telemetry: Telemetry, now: () => number): TemporalSearch {
  let known: { readonly answer: Promise<boolean>; readonly atMs: number } | undefined;

  async function ask({ connection }: Client, namespace: string): Promise<boolean> {
    const { operatorService } = connection;
    const { customAttributes } = await operatorService.listSearchAttributes({ namespace });
    const missing = (Object.keys(searchAttributeTypes) as SearchAttributeName[]).filter((name) => !Object.hasOwn(customAttributes ?? {}, name));
    if (missing.length === 0) return true;
    const wanted = Object.fromEntries(missing.map((name) => [name, typeNumbers[searchAttributeTypes[name]]]));
    await operatorService.addSearchAttributes({ namespace, searchAttributes: wanted });
    telemetry.log.info('search attributes added to Temporal', { namespace, names: missing.join(' ') });
    return true;
  }

  return {
    async available(client, namespace) {
      if (!known || (now() - known.atMs > askAgainMs && !(await known.answer))) {
        const answer = ask(client, namespace).catch((thrown: unknown) => {
          telemetry.log.info('Temporal has no search attributes of ours: its workflows are found by their memos', { error: String(thrown) });
          return false;
        });
        known = { answer, atMs: now() };
      }
      return known.answer;
    },
    refused() {
      known = { answer: Promise.resolve(false), atMs: now() };
    },
  };
}
