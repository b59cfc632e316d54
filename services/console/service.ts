// The console: serves the operator API over HTTP. Keeps nothing: every answer is asked of the service that owns it.
import type { Ports } from '../../lib/ports/ports.ts';
import type { Running, Service } from '../../lib/run/service.ts';
import { type ConsoleConfig, consoleSchema } from './config.ts';
import { createEffects } from './effects.ts';
import { operatorApi } from './routes.ts';

export interface RunningConsole extends Running<ConsoleConfig> {
  /** Base URL of the operator API. */
  readonly address: string;
}

async function start(config: ConsoleConfig, ports: Ports): Promise<RunningConsole> {
  // Asked for the first time it connects; asked now, so that the first status does not call Temporal away.
  ports.workflows.connected();
  const server = await ports.http.serve({ host: config.host, port: config.port }, operatorApi(createEffects(config, ports)));
  ports.telemetry.log.info('operator API listens', { address: server.address });
  return {
    address: server.address,
    ready: () => (ports.bus.connected() ? true : 'the bus is away'),
    owns: () => [],
    drain: (withinMs) => server.close(withinMs),
  };
}

export const console: Service<ConsoleConfig> = { name: 'console', schema: consoleSchema, start };
