// Temporal's native runtime, of which a process has one: its logs go where ours go, and signals are ours to handle.
import { DefaultLogger, type LogEntry, Runtime } from '@temporalio/worker';
import type { Telemetry } from '../ports/telemetry.ts';

let logTo: Telemetry | undefined;
let installed = false;

/** The first call installs it; logs go to the telemetry of the latest. */
export function installRuntime(telemetry: Telemetry): void {
  logTo = telemetry;
  if (installed) return;
  installed = true;
  Runtime.install({
    shutdownSignals: [],
    logger: new DefaultLogger('INFO', write),
    telemetryOptions: { logging: { forward: {}, filter: { core: 'WARN', other: 'ERROR' } } },
  });
}

function write(entry: LogEntry): void {
  const log = logTo?.log;
  if (!log) return;
  const { error, sdkComponent, ...meta } = entry.meta ?? {};
  const fields = {
    ...meta,
    component: sdkComponent,
    ...(error === undefined ? {} : { error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  };
  // An activity that fails is tried again, and a workflow that fails says so itself: neither is news for an operator.
  if (entry.level === 'ERROR') log.error(entry.message, fields);
  else if (entry.level === 'WARN') log.warn(entry.message, fields);
  else if (sdkComponent === 'workflow') log.info(entry.message, fields);
  else log.debug(entry.message, fields);
}
