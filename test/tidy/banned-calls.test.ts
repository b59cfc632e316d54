// Time, chance, the environment and sockets come through ports. Only the files listed here touch the real ones.
import { expect, test } from 'vitest';
import { isTestCode, textOf, typescriptFiles, withoutComments } from './source-files.ts';

interface Ban {
  readonly what: string;
  readonly pattern: RegExp;
  /** Files, or folders with a slash at the end. */
  readonly allowedIn: readonly string[];
}

const bans: readonly Ban[] = [
  {
    what: 'the time',
    pattern: /\bDate\.now\b|\bnew Date\(\)|\bperformance\.(now|timeOrigin)\b|\bprocess\.(hrtime|uptime)\b/,
    allowedIn: [
      'lib/clock/system-clock.ts',
      'lib/telemetry/probe/probe-worker.ts',
      // Temporal's client and server run on real time only; its sandbox replaces Date.now.
      'lib/workflows/temporal-connection.ts',
      'lib/workflows/temporal-workflows.ts',
      'lib/workflows/sandbox/control.ts',
    ],
  },
  {
    what: 'timers',
    pattern: /(?<![.\w])(setTimeout|setInterval|setImmediate)\(|node:timers/,
    allowedIn: [
      'lib/clock/system-clock.ts',
      'lib/clock/virtual-clock.ts',
      'lib/bus/nats-wire.ts',
      'lib/workflows/temporal-connection.ts',
      'lib/workflows/temporal-host.ts',
      'lib/workflows/temporal-workflows.ts',
    ],
  },
  {
    what: 'chance',
    pattern: /\bMath\.random\b|\brandom(UUID|Bytes|Int|FillSync)\b|\bgetRandomValues\b/,
    allowedIn: ['lib/rng/system-rng.ts'],
  },
  {
    what: 'the environment and the process',
    pattern: /(?<!['"])\bprocess\.(env|exit|exitCode|on|once|stdin|stdout|stderr|pid|kill|argv|cwd)\b|\bimport\.meta\.env\b/,
    allowedIn: [
      'lib/run/run-service.ts',
      'lib/run/stop-request.ts',
      // Also a program of its own, for the image.
      'workflows/bundle.ts',
    ],
  },
  {
    what: 'sockets and servers',
    pattern:
      /(from |import\(|import )['"](node:)?(net|tls|dgram|dns|http|https|http2|ws|undici|ioredis|@nats-io\/[a-z-]+)['"]|\bnew WebSocket\(|(await|return|void|=>?|\() ?fetch\(/,
    allowedIn: [
      'lib/net/node-net.ts',
      'lib/net/tcp.ts',
      'lib/net/websocket.ts',
      'lib/http/node-http.ts',
      'lib/http/node-request.ts',
      'lib/http/node-response.ts',
      'lib/bus/nats-bus.ts',
      'lib/bus/nats-connection.ts',
      'lib/bus/nats-consumers.ts',
      'lib/bus/nats-headers.ts',
      'lib/bus/nats-log.ts',
      'lib/bus/nats-wire.ts',
      'lib/store/redis-connection.ts',
      'lib/store/redis-store.ts',
      'lib/telemetry/probe/probe-worker.ts',
    ],
  },
  {
    what: 'files and child processes',
    pattern: /['"](node:)?(fs|fs\/promises|child_process|cluster|worker_threads)['"]/,
    allowedIn: [
      'lib/config/config-folder.ts',
      'lib/run/version.ts',
      'lib/telemetry/probe/probe.ts',
      'lib/telemetry/probe/probe-worker.ts',
      // Workflows are bundled ahead of time, into a file.
      'workflows/bundle.ts',
    ],
  },
  {
    what: 'what the shape of Temporal, NATS and OpenTelemetry is: only their port implementations know',
    pattern: /['"]@(temporalio|opentelemetry)\/|['"](prom-client|pino)['"]/,
    allowedIn: ['lib/workflows/', 'lib/telemetry/', 'workflows/'],
  },
];

const ruled = typescriptFiles().filter((path) => /^(core|lib|services|workflows|simulator)\//.test(path) && !isTestCode(path));
const allowedBy = (ban: Ban, path: string) => ban.allowedIn.some((allowed) => (allowed.endsWith('/') ? path.startsWith(allowed) : path === allowed));

test.each(bans)('$what', (ban) => {
  const wrong = ruled
    .filter((path) => !allowedBy(ban, path))
    .flatMap((path) =>
      withoutComments(textOf(path))
        .split('\n')
        .flatMap((line, index) => (ban.pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
    );
  expect(wrong).toEqual([]);
});

test('every file on a list exists and needs to be there', () => {
  const idle = bans.flatMap((ban) =>
    ban.allowedIn
      .filter(
        (allowed) => !ruled.some((path) => allowedBy({ ...ban, allowedIn: [allowed] }, path) && ban.pattern.test(withoutComments(textOf(path)))),
      )
      .map((allowed) => `${allowed} is listed under "${ban.what}" for nothing`),
  );
  expect(idle).toEqual([]);
});

test('the patterns catch what they are for', () => {
  const samples = [
    'const at = Date.now();',
    'setTimeout(run, 5)',
    'Math.random()',
    'process.env.HOME',
    'const reply = await fetch(url);',
    "import { connect } from 'node:net';",
    "import { readFileSync } from 'node:fs';",
    "import { trace } from '@opentelemetry/api';",
  ];
  for (const sample of samples) expect(bans.filter((ban) => ban.pattern.test(sample))).toHaveLength(1);
  for (const harmless of ['clock.setTimeout(', 'world.http.fetch(', 'runDate.nowhere', 'signal.once(', "'process.pid': pid", "{ link: 'ws' }"]) {
    expect(bans.filter((ban) => ban.pattern.test(harmless))).toEqual([]);
  }
});
