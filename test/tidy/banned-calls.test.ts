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
    // A Date made of a number is arithmetic; Date itself, under whatever name, is the time.
    pattern:
      /(?<!new )\bDate\b(?!\.(UTC|parse)\b)|\bnew Date(\(\s*\)|(?!\s*\())|\bperformance\b(?!\?)|\b(hrtime|uptime)\b|\bTemporal\.Now\b|perf_hooks/,
    allowedIn: [
      // The clock of a process of its own, which has no ports.
      'lib/engines/llama/child/main.ts',
      'lib/clock/system-clock.ts',
      // Measures the delay of the event loop.
      'lib/telemetry/probe/probe.ts',
      'lib/telemetry/probe/probe-worker.ts',
      // Temporal's client and server run on real time only; its sandbox replaces Date.now.
      'lib/workflows/temporal-connection.ts',
      'lib/workflows/temporal-workflows.ts',
      'lib/workflows/sandbox/control.ts',
    ],
  },
  {
    what: 'timers',
    pattern: /(?<!\.)\b(set(Timeout|Interval|Immediate))\b|node:timers|\bAbortSignal\.timeout\b|\bscheduler\.(wait|yield)\b|\bAtomics\.wait/,
    allowedIn: [
      'lib/clock/system-clock.ts',
      'lib/clock/virtual-clock.ts',
      'lib/bus/nats-connection.ts',
      'lib/bus/nats-wire.ts',
      'lib/net/websocket.ts',
      'lib/workflows/temporal-connection.ts',
      'lib/workflows/temporal-host.ts',
      'lib/workflows/temporal-workflows.ts',
    ],
  },
  {
    what: 'chance',
    pattern: /\bMath\b(?!\.[a-zA-Z])|\bMath\.random\b|\brandom(UUID|Bytes|Int|Fill|FillSync)\b|\bgetRandomValues\b/,
    allowedIn: ['lib/rng/system-rng.ts'],
  },
  {
    what: 'the environment and the process',
    pattern: /(?<!['".])\bprocess(\?\.|\.|\[)|=\s*process\b|['"](node:)?(process|os)['"]|\bimport\.meta\.env\b/,
    allowedIn: [
      // A process of its own.
      'lib/engines/llama/child/main.ts',
      // The priority of that process.
      'lib/run/give-way.ts',
      // Where states lie between two processes, and whether the process that left one is alive.
      'lib/engines/llama/state-folder.ts',
      'lib/run/run-service.ts',
      'lib/run/stop-request.ts',
      'lib/http/node-response.ts',
      // The machine's name, for addresses that others are told.
      'lib/net/node-net.ts',
      // Also a program of its own, for the image.
      'workflows/bundle.ts',
    ],
  },
  {
    what: 'sockets and servers',
    pattern:
      /(from |import\(\s*|import )['"`](node:)?(net|tls|dgram|dns|http|https|http2|ws|undici|ioredis|@nats-io\/[a-z-]+)['"`]|\b(new WebSocket|EventSource|XMLHttpRequest|BroadcastChannel)\b|(await|return|void|=>?|[(,:]) ?fetch\b/,
    allowedIn: [
      'lib/net/door.ts',
      'lib/net/node-net.ts',
      'lib/net/reading-socket.ts',
      'lib/net/tcp.ts',
      'lib/net/websocket.ts',
      'lib/http/node-client.ts',
      'lib/http/node-http.ts',
      'lib/http/node-request.ts',
      'lib/http/node-response.ts',
      'lib/bus/nats-bus.ts',
      'lib/bus/nats-connection.ts',
      'lib/bus/nats-consumers.ts',
      'lib/bus/nats-headers.ts',
      'lib/bus/nats-log.ts',
      'lib/bus/nats-storing.ts',
      'lib/bus/nats-wire.ts',
      'lib/store/redis-connection.ts',
      'lib/store/redis-store.ts',
      'lib/telemetry/probe/probe-worker.ts',
      // KV events of engines come over ZeroMQ.
      'lib/zmq/zmq-socket.ts',
    ],
  },
  {
    what: 'files and child processes',
    pattern: /['"`](node:)?(fs|fs\/promises|child_process|cluster|worker_threads|inspector|repl)['"`]/,
    allowedIn: [
      // The engine's process, and the files in which sequences get in and out of it.
      'lib/engines/llama/engine-child.ts',
      // The first bytes of a model.
      'lib/engines/llama/model-file.ts',
      'lib/engines/llama/child/main.ts',
      'lib/engines/llama/state-folder.ts',
      'lib/config/config-folder.ts',
      'lib/run/version.ts',
      'lib/run/give-way.ts',
      'lib/run/credentials.ts',
      // Certificates and keys.
      'lib/net/tls.ts',
      // Saved slots of llama-server, in a folder that it shares with the agent.
      'lib/engines/openai/kv/slot-files.ts',
      'lib/telemetry/probe/probe.ts',
      'lib/telemetry/probe/probe-worker.ts',
      // Workflows are bundled ahead of time, into a file.
      'workflows/bundle.ts',
    ],
  },
  {
    what: 'what the shape of Temporal, NATS and OpenTelemetry is: only their port implementations know',
    pattern: /['"`]@(temporalio|opentelemetry)\/|['"`](prom-client|pino)['"`]/,
    allowedIn: ['lib/workflows/', 'lib/telemetry/', 'workflows/'],
  },
  {
    what: 'ways around this list',
    pattern:
      /(?<!\.)\bglobalThis\b|(?<![.\w'"])global(\.|\[)|\bimport\(\s*[^'"\s]|\brequire\(|\bcreateRequire\b|getBuiltinModule|(?<!\.)\beval\(|\bnew Function\(|['"](node:)?(module|vm)['"]/,
    allowedIn: [
      // Asks for the version of Temporal's worker.
      'workflows/bundle.ts',
      // The package of the engine is installed apart: its path is known at run time.
      'lib/engines/llama/child/package.ts',
    ],
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

test.each([
  'const at = Date.now();',
  'const later = { now: Date.now };',
  "const at = Date['now']();",
  'const { now } = Date;',
  'const at = new Date();',
  'const at = new Date',
  'const at = +new Date( );',
  'const at = performance.now();',
  'const { now } = performance;',
  'const at = process.hrtime.bigint();',
  "import { performance as p } from 'node:perf_hooks';",
  'setTimeout(run, 5)',
  'const later = setTimeout;',
  'const { promise } = { wait: setInterval };',
  'setImmediate(run);',
  "import { setTimeout as sleep } from 'node:timers/promises';",
  'fetchIt({ signal: AbortSignal.timeout(100) })',
  'Math.random()',
  'const { random } = Math;',
  "Math['random']()",
  'const id = crypto.randomUUID();',
  "const id = crypto['randomUUID']();",
  'crypto.getRandomValues(bytes)',
  'process.env.HOME',
  "process['env'].HOME",
  'const { env } = process;',
  "import { env } from 'node:process';",
  "import os from 'os';",
  'const reply = await fetch(url);',
  'const get = fetch;',
  'client({ fetch: fetch })',
  "import { connect } from 'node:net';",
  "const net = await import('node:net');",
  'const net = await import(`node:net`);',
  'const net = await import(name);',
  'const socket = new WebSocket(url);',
  "import { readFileSync } from 'node:fs';",
  "const { readFileSync } = await import('fs');",
  "import { trace } from '@opentelemetry/api';",
  'const clock = globalThis.Date;',
  "const now = globalThis['performance'];",
  'const { setTimeout: later } = globalThis;',
  "process.getBuiltinModule('net')",
  "require('net')",
])('is caught: %s', (sample) => {
  expect(bans.filter((ban) => ban.pattern.test(sample)).map((ban) => ban.what)).not.toEqual([]);
});

test.each([
  'clock.setTimeout(',
  'world.http.fetch(',
  'runDate.nowhere',
  'signal.once(',
  "'process.pid': pid",
  "{ link: 'ws' }",
  'new Date(atMs).toISOString()',
  'Math.max(1, 2)',
  "createMemoryTelemetry(clock, { process: 'world' })",
  "await import('./scripted.ts')",
  'fetch(address, options) {',
])('is harmless: %s', (sample) => {
  expect(bans.filter((ban) => ban.pattern.test(sample)).map((ban) => ban.what)).toEqual([]);
});
