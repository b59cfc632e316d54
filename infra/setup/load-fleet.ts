// The fleet file, read as the services read it.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type FleetConfig, fleetSchema } from '../../lib/config/fleet.ts';
import { loadConfig } from '../../lib/config/load.ts';

/** @throws SwitchyardError `invalid_config`, naming file and line */
export function loadFleet(folder: string): FleetConfig {
  const name = join(folder, 'fleet.yaml');
  const text = existsSync(name) ? readFileSync(name, 'utf8') : undefined;
  const schema = z.strictObject({ fleet: fleetSchema });
  return loadConfig(schema, { service: 'supervisor', file: { name: 'supervisor.yaml', text: undefined }, fleet: { name, text } }).config.fleet;
}
