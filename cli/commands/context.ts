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

/** For --help of a command that takes a request. */
export const aboutRequest = 'its id: see "switchyard requests", or the answer that the client got';

/** For the end of a command's --help. */
export function examples(...lines: string[]): string {
  return `\nExamples:\n${lines.map((line) => `  switchyard ${line}`).join('\n')}`;
}

/** An id as people paste it: the id of an OpenAI answer is the request's id behind a prefix. */
export function requestId(text: string): string {
  return text.replace(/^(chatcmpl|cmpl)-/, '');
}

export function path(...parts: string[]): string {
  return `/${parts.map(encodeURIComponent).join('/')}`;
}
