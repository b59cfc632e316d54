// The console: serves the operator API over HTTP. Keeps nothing: every answer is asked of the service that owns it.

import { watchKeys } from '../../lib/auth/watch-keys.ts';
import { httpTls } from '../../lib/config/http-tls.ts';
import type { Ports } from '../../lib/ports/ports.ts';
import type { Running, Service } from '../../lib/run/service.ts';
import { accessMode, createAccess } from './access.ts';
import { type ConsoleConfig, consoleSchema } from './config.ts';
import { createEffects } from './effects.ts';
import { watchQueues } from './queues.ts';
import { operatorApi } from './routes.ts';

export interface RunningConsole extends Running<ConsoleConfig> {
  /** Base URL of the operator API. */
  readonly address: string;
}

async function start(config: ConsoleConfig, ports: Ports): Promise<RunningConsole> {
  // Asked for the first time it connects; asked now, so that the first status does not call Temporal away.
  ports.workflows.connected();
  const mode = accessMode(config);
  const keys = watchKeys(ports, { ttlMs: config.keyTtlMs, graceMs: config.keyGraceMs, maxEntries: config.maxKeys });
  const queues = watchQueues(
    ports,
    config.fleet.pools.map(({ id }) => id),
  );
  const api = operatorApi(createEffects(config, ports, queues), createAccess(keys, config));
  const listening = { host: config.host, port: config.port, tls: httpTls(config), routeOf: api.routeOf };
  const server = await ports.http.serve(listening, api.handler);
  ports.telemetry.log.info('operator API listens', { address: server.address, auth: mode });
  if (mode === 'open') {
    ports.telemetry.log.warn('open mode: anybody who can reach this address may operate the fleet without a key; set auth to "keys" to change that', {
      address: server.address,
    });
  }
  return {
    address: server.address,
    ready: () => (ports.bus.connected() ? true : 'the bus is away'),
    owns: () => [],
    async drain(withinMs) {
      await server.close(withinMs);
      await Promise.all([keys.stop(), queues.stop()]);
    },
  };
}

export const console: Service<ConsoleConfig> = { name: 'console', schema: consoleSchema, start };
