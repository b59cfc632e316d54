// Decides how node-llama-cpp is installed on a machine: which of the manifests below infra/engines, with which npm command,
// and which package must have come with it. Pure: llama-package.ts carries it out.
import { createHash } from 'node:crypto';

const family = '@node-llama-cpp/';

/** The prebuilt binaries, by platform as Node names it. */
const binaries: Readonly<Record<string, string>> = {
  'linux-x64': 'linux-x64',
  'linux-arm64': 'linux-arm64',
  'darwin-arm64': 'mac-arm64-metal',
  'darwin-x64': 'mac-x64',
  'win32-x64': 'win-x64',
  'win32-arm64': 'win-arm64',
};

export interface LlamaSources {
  /** package.json and package-lock.json of an engine package. */
  readonly manifest: string;
  readonly lock: string;
}

export interface LlamaPlan {
  /** Of the folder in the cache: what was installed by other means has another one. */
  readonly key: string;
  readonly version: string;
  /** For the folder, before npm runs in it. */
  readonly files: Readonly<Record<string, string>>;
  readonly npmArguments: readonly string[];
  /** Folders below node_modules that must be there afterwards. */
  readonly packages: readonly string[];
}

/** `platform` as `linux-x64`. Gives a reason where there is no prebuilt binary. */
export function planLlama(platform: string, sources: LlamaSources): LlamaPlan | { readonly reason: string } {
  const binary = binaries[platform];
  if (binary === undefined) return { reason: `llama.cpp has no prebuilt binary for ${platform}` };
  const manifest = JSON.parse(sources.manifest) as { dependencies: Record<string, string>; overrides: Record<string, string> };
  const locked = (JSON.parse(sources.lock) as { packages: Record<string, { name?: string } | undefined> }).packages;
  const own = locked[`node_modules/${family}${binary}`];
  // An alias stands where a package is not wanted; it has the name of what it points to.
  const isLocked = own !== undefined && own.name === undefined;
  const { [`${family}${binary}`]: _unwanted, ...overrides } = manifest.overrides;
  const files: Record<string, string> = isLocked
    ? { 'package.json': sources.manifest, 'package-lock.json': sources.lock }
    : { 'package.json': `${JSON.stringify({ ...manifest, overrides }, null, 2)}\n` };
  const common = ['--ignore-scripts', '--include=optional', '--no-audit', '--no-fund', '--loglevel=error', '--fetch-retries=1'];
  return {
    key: createHash('sha256').update(JSON.stringify(files)).digest('hex').slice(0, 12),
    version: manifest.dependencies['node-llama-cpp'] as string,
    files,
    npmArguments: isLocked ? ['ci', ...common] : ['install', '--no-package-lock', ...common],
    packages: ['node-llama-cpp', `${family}${binary}`],
  };
}
