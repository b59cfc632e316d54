// Whether a refusal over HTTP looks as OpenAI's clients know it.
import { codes } from '../../core/errors/codes.ts';

/** Undefined: nothing is wrong with it. A 500 is always wrong: no input may make us fail. */
export function refusalProblem(status: number, contentType: string | undefined, text: string): string | undefined {
  if (status === 500) return `status 500: ${text.slice(0, 120)}`;
  if (contentType !== 'application/json') return `status ${status} with content-type ${contentType}`;
  let error: Record<string, unknown> | undefined;
  try {
    error = (JSON.parse(text) as { error?: Record<string, unknown> }).error;
  } catch {
    return `status ${status} with a body that is not JSON`;
  }
  if (!error || Object.keys(error).toSorted().join() !== 'code,message,param,type') return `status ${status} without the four keys of an error`;
  if (typeof error.code !== 'string' || !Object.hasOwn(codes, error.code)) return `status ${status} with the unknown code ${String(error.code)}`;
  return undefined;
}
