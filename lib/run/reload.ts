// Hands changed configuration to a running service: what it can take at once, what waits for a start, and says which.
// The same for a process of its own and for the embedded mode.
import { configChange } from '../config/changes.ts';
import type { ConfigFolder } from '../config/config-folder.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import type { Running, Service } from './service.ts';

export interface ReloadOptions<Config> {
  readonly service: Pick<Service<Config>, 'fixedSettings'>;
  readonly running: Running<Config>;
  /** What the service was started with. */
  readonly config: Config;
  readonly folder: Pick<ConfigFolder<Config>, 'watch'>;
  readonly telemetry: Pick<Telemetry, 'log'>;
}

/** Returns a function that stops watching. */
export function reloadOnChange<Config>(options: ReloadOptions<Config>): () => void {
  const { service, running, folder, telemetry } = options;
  let current = options.config;
  return folder.watch((changed) => {
    const { config, taken, waiting } = configChange(current, changed, service.fixedSettings ?? []);
    const atNextStart = running.reconfigure ? waiting : [...taken, ...waiting];
    if (atNextStart.length > 0) telemetry.log.warn('changed settings wait for the next start', { settings: atNextStart });
    if (!running.reconfigure || taken.length === 0) return;
    running.reconfigure(config);
    current = config;
    telemetry.log.info('configuration taken', { settings: taken });
  });
}
