// The files of a service's configuration: reading them, and noticing that they changed.
import { watch } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { z } from 'zod';
import { type Clock, every } from '../ports/clock.ts';
import type { Telemetry } from '../ports/telemetry.ts';
import { type LoadedConfig, loadConfig } from './load.ts';
import { hasKey } from './schema-walk.ts';

export interface ConfigFolder<Config> {
  /** @throws SwitchyardError `invalid_config` */
  read(): Promise<LoadedConfig<Config>>;
  /**
   * Calls `take` with each new version that is valid. A version that is not is logged and counted, and the old one stays.
   * Returns a function that stops watching.
   */
  watch(take: (config: Config) => void): () => void;
}

export interface ConfigFolderOptions<Config> {
  readonly folder: string;
  readonly service: string;
  readonly schema: z.ZodType<Config>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly telemetry: Pick<Telemetry, 'log' | 'counter'>;
}

/** Where the system does not tell of changes (network folders, replaced mounts), files are looked at this often. */
const lookEveryMs = 2000;
/** An editor writes a file in several steps: wait until it is quiet. */
const quietMs = 100;

export function openConfigFolder<Config>(options: ConfigFolderOptions<Config>): ConfigFolder<Config> {
  const { folder, service, schema, environment, clock, telemetry } = options;
  const own = join(folder, `${service}.yaml`);
  const fleet = hasKey(schema, 'fleet') ? join(folder, 'fleet.yaml') : undefined;
  const paths = fleet ? [own, fleet] : [own];
  let lastTexts = '';

  async function texts(): Promise<(string | undefined)[]> {
    return Promise.all(paths.map(readIfThere));
  }

  function load([ownText, fleetText]: readonly (string | undefined)[]): LoadedConfig<Config> {
    return loadConfig(schema, {
      service,
      file: { name: own, text: ownText },
      fleet: fleet === undefined ? undefined : { name: fleet, text: fleetText },
      environment,
    });
  }

  return {
    async read() {
      const found = await texts();
      lastTexts = JSON.stringify(found);
      return load(found);
    },

    watch(take) {
      const reloads = telemetry.counter('switchyard_config_reloads_total');
      let lastLook = '';
      let running = false;
      let cancelQuiet = () => {};

      async function reload(): Promise<void> {
        const found = await texts();
        const text = JSON.stringify(found);
        if (text === lastTexts) return;
        lastTexts = text;
        try {
          take(load(found).config);
          reloads.add(1, { result: 'taken' });
        } catch (thrown) {
          reloads.add(1, { result: 'refused' });
          telemetry.log.error('changed configuration refused, the old one stays', {
            error: thrown instanceof Error ? thrown.message : String(thrown),
          });
        }
      }

      function soon(): void {
        cancelQuiet();
        cancelQuiet = clock.after(quietMs, () => {
          if (running) {
            soon();
            return;
          }
          running = true;
          reload()
            .catch((thrown: unknown) => telemetry.log.warn('configuration cannot be read, the old one stays', { error: String(thrown) }))
            .finally(() => {
              running = false;
            });
        });
      }

      async function look(): Promise<void> {
        const marks = await Promise.all(paths.map(markOf));
        const now = marks.join(' ');
        if (lastLook !== '' && now !== lastLook) soon();
        lastLook = now;
      }

      const names = new Set(paths.map((path) => path.slice(folder.length + 1)));
      const watcher = watchFolder(folder, (name) => {
        if (name === null || names.has(name)) soon();
      });
      const stopLooking = every(clock, lookEveryMs, () => void look());
      void look();
      return () => {
        watcher?.close();
        stopLooking();
        cancelQuiet();
      };
    },
  };
}

/** Undefined where the system cannot watch the folder; the regular look is enough then. */
function watchFolder(folder: string, changed: (name: string | null) => void): { close(): void } | undefined {
  try {
    const watcher = watch(folder, { persistent: false }, (_event, name) => changed(name));
    watcher.on('error', () => watcher.close());
    return watcher;
  } catch {
    return undefined;
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw thrown;
  }
}

async function markOf(path: string): Promise<string> {
  try {
    const found = await stat(path);
    return `${found.mtimeMs}/${found.size}/${found.ino}`;
  } catch {
    return 'none';
  }
}
