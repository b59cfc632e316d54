import { expect, test } from 'vitest';
import { VirtualClock } from '../clock/virtual-clock.ts';
import { createMemoryTelemetry } from '../telemetry/memory-telemetry.ts';
import { reloadOnChange } from './reload.ts';
import type { Running } from './service.ts';

interface Settings {
  readonly port: number;
  readonly weight: number;
}

function started(options: { fixedSettings?: readonly string[]; canReconfigure?: boolean }) {
  const telemetry = createMemoryTelemetry(new VirtualClock(), { process: 'router-1' });
  const given: Settings[] = [];
  let change: (config: Settings) => void = () => {};
  const running: Running<Settings> = {
    ready: () => true,
    owns: () => [],
    drain: async () => {},
    ...(options.canReconfigure === false ? {} : { reconfigure: (config: Settings) => given.push(config) }),
  };
  const folder = {
    watch(take: (config: Settings) => void) {
      change = take;
      return () => {};
    },
  };
  reloadOnChange({
    service: options.fixedSettings ? { fixedSettings: options.fixedSettings } : {},
    running,
    config: { port: 1, weight: 1 },
    folder,
    telemetry,
  });
  const said = () => telemetry.logs.map(({ message, fields }) => [message, fields?.settings]);
  return { given, said, change: (config: Settings) => change(config) };
}

test('a service gets what it can take, with the old value of what only a start takes', () => {
  const { given, said, change } = started({ fixedSettings: ['port'] });
  change({ port: 2, weight: 5 });
  expect(given).toEqual([{ port: 1, weight: 5 }]);
  expect(said()).toEqual([
    ['changed settings wait for the next start', ['port']],
    ['configuration taken', ['weight']],
  ]);
});

test('nothing is handed over when only fixed settings changed; they are named again with the next change', () => {
  const { given, said, change } = started({ fixedSettings: ['port'] });
  change({ port: 2, weight: 1 });
  expect(given).toEqual([]);
  change({ port: 2, weight: 3 });
  expect(given).toEqual([{ port: 1, weight: 3 }]);
  expect(said().map(([message]) => message)).toEqual([
    'changed settings wait for the next start',
    'changed settings wait for the next start',
    'configuration taken',
  ]);
});

test('a service that takes nothing while running says every setting that changed', () => {
  const { given, said, change } = started({ canReconfigure: false });
  change({ port: 2, weight: 5 });
  expect(given).toEqual([]);
  expect(said()).toEqual([['changed settings wait for the next start', ['port', 'weight']]]);
});

test('a change back is a change', () => {
  const { given, change } = started({});
  change({ port: 1, weight: 5 });
  change({ port: 1, weight: 1 });
  expect(given.map(({ weight }) => weight)).toEqual([5, 1]);
});
