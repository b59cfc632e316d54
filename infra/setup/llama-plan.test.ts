import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type LlamaPlan, planLlama } from './llama-plan.ts';

const sourcesOf = (name: string) => {
  const read = (file: string) => readFileSync(join(import.meta.dirname, '../engines', name, file), 'utf8');
  return { manifest: read('package.json'), lock: read('package-lock.json') };
};
const llama = sourcesOf('llama');
const gpu = sourcesOf('llama-gpu');

describe('how node-llama-cpp is installed', () => {
  test.each(['linux-x64', 'linux-arm64'])('%s: exactly what the lock file says', (platform) => {
    const plan = planLlama(platform, llama) as LlamaPlan;
    expect(plan.npmArguments[0]).toBe('ci');
    expect(plan.npmArguments).toContain('--ignore-scripts');
    expect(plan.files).toEqual({ 'package.json': llama.manifest, 'package-lock.json': llama.lock });
    expect(plan.packages).toEqual(['node-llama-cpp', `@node-llama-cpp/${platform}`]);
    expect(plan.version).toMatch(/^\d+\.\d+\.\d+$/);
  });

  test('a platform that the lock file does not have: by version, with its own binary and without those of others', () => {
    const plan = planLlama('darwin-arm64', llama) as LlamaPlan;
    expect(plan.npmArguments.slice(0, 2)).toEqual(['install', '--no-package-lock']);
    const { overrides } = JSON.parse(plan.files['package.json'] as string) as { overrides: Record<string, string> };
    expect(overrides).not.toHaveProperty('@node-llama-cpp/mac-arm64-metal');
    expect(overrides).toHaveProperty('@node-llama-cpp/linux-x64-cuda');
    expect(plan.packages).toContain('@node-llama-cpp/mac-arm64-metal');
  });

  test('a platform without a binary has a reason', () => {
    expect(planLlama('freebsd-x64', llama)).toEqual({ reason: 'llama.cpp has no prebuilt binary for freebsd-x64' });
  });

  test('what differs lies apart', () => {
    const keys = [planLlama('linux-x64', llama), planLlama('linux-x64', gpu), planLlama('darwin-x64', llama)].map((plan) => (plan as LlamaPlan).key);
    expect(new Set(keys).size).toBe(3);
  });
});

describe('the lock files', () => {
  test.each(Object.entries({ llama, gpu }))('%s: no registry, no install scripts, ARM binaries for ARM alone', (_name, { lock }) => {
    expect(lock).not.toMatch(/"resolved"|https:\/\/[^"]*\.tgz/);
    const { packages } = JSON.parse(lock) as { packages: Record<string, { name?: string; cpu?: string[]; hasInstallScript?: boolean }> };
    expect(packages['node_modules/@node-llama-cpp/linux-arm64']?.cpu).toEqual(['arm64']);
  });

  test('GPU variants are in that for GPUs alone', () => {
    const cuda = (lock: string) =>
      (JSON.parse(lock) as { packages: Record<string, { name?: string }> }).packages['node_modules/@node-llama-cpp/linux-x64-cuda']?.name;
    expect(cuda(llama.lock)).toBe('@node-llama-cpp/linux-riscv64');
    expect(cuda(gpu.lock)).toBeUndefined();
  });
});
