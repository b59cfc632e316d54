// Runs handlers of messages: in the sender's trace, failures counted and logged, and counted while they run so that a
// stopping subscription can wait for them.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import type { Telemetry, TraceContext } from '../ports/telemetry.ts';

export interface HandlerGroup {
  /** What the handler throws is counted and logged, and then forgotten. Makes no promise where the handler makes none. */
  start(context: TraceContext | undefined, handler: () => unknown): void;
  /** Rejects with what the handler threw. */
  run<T>(context: TraceContext | undefined, handler: () => T | Promise<T>): Promise<T>;
  /** Resolves when none runs. */
  idle(): Promise<void>;
}

/** The handlers of one subscription. */
export function handlerGroup(pattern: string, telemetry: Telemetry): HandlerGroup {
  const failures = telemetry.counter('switchyard_bus_handler_failures_total');
  const waiting: (() => void)[] = [];
  let running = 0;

  function failed(thrown: unknown): void {
    failures.add(1, { subject: pattern });
    // Failures with a code are answers to the sender; anything else is a fault in the handler.
    if (thrown instanceof SwitchyardError)
      telemetry.log.debug('message handler refused', { subject: pattern, code: thrown.code, error: thrown.message });
    else
      telemetry.log.error('message handler failed', {
        subject: pattern,
        error: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown),
      });
  }

  function ended(): void {
    running--;
    if (running === 0) for (const resolve of waiting.splice(0)) resolve();
  }

  return {
    start(context, handler) {
      running++;
      let result: unknown;
      try {
        result = telemetry.within(context, handler);
      } catch (thrown) {
        failed(thrown);
      }
      if (result instanceof Promise) void result.catch(failed).then(ended);
      else ended();
    },
    async run(context, handler) {
      running++;
      try {
        return await telemetry.within(context, handler);
      } catch (thrown) {
        failed(thrown);
        throw thrown;
      } finally {
        ended();
      }
    },
    idle: () => (running === 0 ? Promise.resolve() : new Promise((resolve) => waiting.push(resolve))),
  };
}
