// The programs that Switchyard runs beside its own services: which versions will do and where they come from.
// A new version is a change of this file alone.
import { firstVersion } from './version.ts';

export const programNames = ['nats-server', 'redis-server', 'temporal', 'jaeger', 'zipkin'] as const;
export type ProgramName = (typeof programNames)[number];

/** linux-x64 and so on, as Node names them. */
export type Platform = `${string}-${string}`;

export interface Release {
  /** Of the archive (tar.gz) for a platform; undefined when none is published for it. */
  url(platform: Platform): string | undefined;
  /** Path of the program inside the archive. */
  member(platform: Platform): string;
  /** SHA-256 of the archive, by platform, where it is pinned here. */
  pinned: Readonly<Record<Platform, string>>;
  /** The list of SHA-256 sums published beside the archive, used where nothing is pinned. `of`: what the sums are of. */
  sums?: { url(platform: Platform): string; of: 'archive' | 'member' };
}

export interface Program {
  readonly name: ProgramName;
  /** What Switchyard needs it for, in the words of a failure message. */
  readonly purpose: string;
  /** Names it may have on PATH. */
  readonly commands: readonly string[];
  readonly versionArguments: readonly string[];
  /** The version that `minVersion` is about, out of what the program prints. */
  readVersion(printed: string): string | undefined;
  readonly version: string;
  readonly minVersion: string;
  readonly whyMin: string;
  readonly release?: Release;
  readonly go?: { readonly package: string; readonly version: string; readonly minGo: string; readonly takes: string };
  /** Name of the distribution's package, by package manager. */
  readonly packages?: Readonly<Record<PackageManager, string>>;
  readonly maven?: { readonly artifact: string; readonly file: string; readonly minJava: number };
  readonly byHand: string;
}

export type PackageManager = 'apt-get' | 'apk' | 'dnf';

const goPlatforms: Readonly<Record<Platform, string>> = {
  'linux-x64': 'linux-amd64',
  'linux-arm64': 'linux-arm64',
  'darwin-x64': 'darwin-amd64',
  'darwin-arm64': 'darwin-arm64',
};

const natsVersion = '2.15.2';
const natsReleases = `https://github.com/nats-io/nats-server/releases/download/v${natsVersion}`;
const temporalVersion = '1.5.1';
const jaegerVersion = '2.13.0';
const jaegerReleases = `https://github.com/jaegertracing/jaeger/releases/download/v${jaegerVersion}`;
const zipkinVersion = '3.6.1';

export const programs: Readonly<Record<ProgramName, Program>> = {
  'nats-server': {
    name: 'nats-server',
    purpose: 'the messages between services',
    commands: ['nats-server'],
    versionArguments: ['--version'],
    readVersion: firstVersion,
    version: natsVersion,
    minVersion: '2.11.0',
    whyMin: 'older ones ignore the time to live of keys and messages without an error',
    release: {
      url: (platform) => goPlatforms[platform] && `${natsReleases}/nats-server-v${natsVersion}-${goPlatforms[platform]}.tar.gz`,
      member: (platform) => `nats-server-v${natsVersion}-${goPlatforms[platform]}/nats-server`,
      pinned: {},
      sums: { url: () => `${natsReleases}/SHA256SUMS`, of: 'archive' },
    },
    go: { package: 'github.com/nats-io/nats-server/v2', version: `v${natsVersion}`, minGo: '1.21', takes: 'about half a minute' },
    byHand: `Install nats-server ${natsVersion} (nats.io/download) so that it is on PATH, or run one elsewhere and set NATS_URL.`,
  },
  'redis-server': {
    name: 'redis-server',
    purpose: 'leases, ledgers and snapshots',
    commands: ['redis-server', 'valkey-server'],
    versionArguments: ['--version'],
    readVersion: (printed) => /v=([\d.]+)/.exec(printed)?.[1],
    version: '7',
    minVersion: '6.2.0',
    whyMin: 'older ones lack commands that the leases use',
    packages: { 'apt-get': 'redis-server', apk: 'redis', dnf: 'redis' },
    byHand:
      'Install Redis 6.2 or later (apt install redis-server, brew install redis) so that redis-server is on PATH, or run one elsewhere and set REDIS_URL.',
  },
  temporal: {
    name: 'temporal',
    purpose: 'migrations, drains, scaling and approvals',
    commands: ['temporal'],
    versionArguments: ['--version'],
    // A build from source calls itself 0.0.0-DEV; the server inside always says its number.
    readVersion: (printed) => /Server ([\d.]+)/.exec(printed)?.[1],
    version: temporalVersion,
    minVersion: '1.27.0',
    whyMin: 'the version of the server inside counts; older ones do not run our workflow updates',
    release: {
      url: (platform) => {
        const name = goPlatforms[platform]?.replace('-', '_');
        return name && `https://github.com/temporalio/cli/releases/download/v${temporalVersion}/temporal_cli_${temporalVersion}_${name}.tar.gz`;
      },
      member: () => 'temporal',
      pinned: {
        'linux-x64': 'ddc95e08b0b076efd4ea9733a3f488eb7d2be875f8834e616cd2a37358b4852d',
        'linux-arm64': 'bd1b0db9f18b051026de8bf6cc1505f2510f14bbb7a8b9a4a91fff46c77454f5',
        'darwin-x64': 'bbb73e2a31135abe50a1f1cdb35030c42961df618e8ce9c60ae89f201540c5d9',
        'darwin-arm64': 'cca01b7ea35ad56e2a328d9ae596bf716bd22313ef63c7a761c88354457c2415',
      },
    },
    go: { package: 'github.com/temporalio/cli/cmd/temporal', version: `v${temporalVersion}`, minGo: '1.21', takes: 'about four minutes' },
    byHand: `Install the Temporal CLI ${temporalVersion} (docs.temporal.io/cli) so that temporal is on PATH, or run a Temporal server elsewhere and set TEMPORAL_ADDRESS.`,
  },
  jaeger: {
    name: 'jaeger',
    purpose: 'looking at traces',
    commands: ['jaeger'],
    versionArguments: ['version'],
    readVersion: (printed) => /v?(\d+\.\d+\.\d+)/.exec(printed)?.[1],
    version: jaegerVersion,
    minVersion: '2.0.0',
    whyMin: 'version 2 takes OTLP and brings its pages without any setting',
    release: {
      url: (platform) => goPlatforms[platform] && `${jaegerReleases}/jaeger-${jaegerVersion}-${goPlatforms[platform]}.tar.gz`,
      member: (platform) => `jaeger-${jaegerVersion}-${goPlatforms[platform]}/jaeger`,
      pinned: {},
      sums: { url: (platform) => `${jaegerReleases}/jaeger-${jaegerVersion}-${goPlatforms[platform]}.sha256sum.txt`, of: 'member' },
    },
    byHand: 'Put jaeger (jaegertracing.io/download) on PATH, or set OTEL_EXPORTER_OTLP_ENDPOINT to a collector of your own.',
  },
  zipkin: {
    name: 'zipkin',
    purpose: 'looking at traces',
    commands: [],
    versionArguments: [],
    readVersion: firstVersion,
    version: zipkinVersion,
    minVersion: zipkinVersion,
    whyMin: 'the one that has been tried',
    maven: { artifact: `io.zipkin:zipkin-server:${zipkinVersion}:jar:exec`, file: `zipkin-server-${zipkinVersion}-exec.jar`, minJava: 17 },
    byHand: 'Install Java 17 and Maven for Zipkin, or put jaeger (jaegertracing.io/download) on PATH.',
  },
};
