// What every command gets, and how it shows its answer.
import type { OperatorClient } from '../client.ts';
import { printJson } from '../output.ts';

export interface Context {
  readonly json: boolean;
  readonly operator: string;
  readonly client: OperatorClient;
}

export type ContextOf = () => Context;

/** JSON when asked for, otherwise what `show` prints. */
export function present<T>(context: Context, value: T, show: (value: T) => void): void {
  if (context.json) printJson(value);
  else show(value);
}

/** An id as people paste it: the id of an OpenAI answer is the request's id behind a prefix. */
export function requestId(text: string): string {
  return text.replace(/^(chatcmpl|cmpl)-/, '');
}

export function path(...parts: string[]): string {
  return `/${parts.map(encodeURIComponent).join('/')}`;
}
