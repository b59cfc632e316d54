import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { z } from 'zod';
import { systemClock } from '../clock/system-clock.ts';
import { createMemoryTelemetry } from '../telemetry/memory-telemetry.ts';
import { openConfigFolder } from './config-folder.ts';

const schema = z.strictObject({ weight: z.number().max(10).default(1) });
let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'switchyard-config-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

test('a good new version is taken, a bad one is refused and the old one stays', async () => {
  const telemetry = createMemoryTelemetry(systemClock);
  const file = join(folder, 'router.yaml');
  const configs = openConfigFolder({ folder, service: 'router', schema, environment: {}, clock: systemClock, telemetry });
  expect((await configs.read()).config).toEqual({ weight: 1 });
  const taken: number[] = [];
  const stop = configs.watch((config) => taken.push(config.weight));
  writeFileSync(file, 'weight: 2');
  await until(() => taken.length === 1);
  writeFileSync(file, 'weight: 99');
  await until(() => telemetry.value('switchyard_config_reloads_total', { result: 'refused' }) === 1);
  expect(telemetry.logs.at(-1)).toMatchObject({ level: 'error', message: 'changed configuration refused, the old one stays' });
  expect(telemetry.logs.at(-1)?.fields.error).toContain(`${file}:1:9: "weight" must be at most 10, not 99`);
  // Replaced as editors and volume mounts do it.
  writeFileSync(join(folder, 'new'), 'weight: 3');
  renameSync(join(folder, 'new'), file);
  await until(() => taken.length === 2);
  expect(taken).toEqual([2, 3]);
  expect(telemetry.value('switchyard_config_reloads_total', { result: 'taken' })).toBe(2);
  stop();
});

test('a file that is written again with the same content changes nothing (real time)', async () => {
  const telemetry = createMemoryTelemetry(systemClock);
  const file = join(folder, 'router.yaml');
  writeFileSync(file, 'weight: 2');
  const configs = openConfigFolder({ folder, service: 'router', schema, environment: {}, clock: systemClock, telemetry });
  await configs.read();
  const stop = configs.watch(() => expect.unreachable());
  writeFileSync(file, 'weight: 2');
  await new Promise((resolve) => setTimeout(resolve, 300));
  stop();
  expect(telemetry.value('switchyard_config_reloads_total')).toBe(0);
});
