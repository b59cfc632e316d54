// How both telemetries run a function inside a span: ends it when the function returns or its promise settles, and
// marks it failed by what was thrown.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { Span } from '../ports/telemetry.ts';

export function runInSpan<T>(span: Span, within: <R>(span: Span, body: () => R) => R, run: (span: Span) => T): T {
  let result: T;
  try {
    result = within(span, () => run(span));
  } catch (thrown) {
    failed(span, thrown);
    throw thrown;
  }
  if (!isPromise(result)) {
    span.end();
    return result;
  }
  return result.then(
    (value) => {
      span.end();
      return value;
    },
    (thrown: unknown) => {
      failed(span, thrown);
      throw thrown;
    },
  ) as T;
}

function isPromise(value: unknown): value is Promise<unknown> {
  return value instanceof Promise;
}

function failed(span: Span, thrown: unknown): void {
  span.fail(thrown instanceof SwitchyardError ? thrown.code : 'internal', thrown instanceof Error ? thrown.message : String(thrown));
  span.end();
}
