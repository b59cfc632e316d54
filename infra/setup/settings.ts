// What `npm start` can be told: flags and environment variables, a flag before its variable before the default.
import { join, resolve } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';

export interface PortSetting {
  readonly port: number;
  /** Chosen by somebody: when it is taken that is an error, not a reason to look for another. */
  readonly chosen: boolean;
  readonly flag: string;
  readonly variable: string;
}

export const portNames = ['gateway', 'console', 'nats', 'redis', 'temporal', 'temporalUi', 'tracingUi'] as const;
export type PortName = (typeof portNames)[number];

export interface StartSettings {
  readonly root: string;
  readonly host: string;
  readonly ports: Readonly<Record<PortName, PortSetting>>;
  readonly stateFolder: string;
  readonly configFolder: string;
  readonly embedded: boolean;
  /** Begin with empty state. */
  readonly fresh: boolean;
  readonly tracing: boolean;
  /** A GGUF file in place of SmolLM2. */
  readonly model: string | undefined;
  /** Addresses of servers that run already, with commas: they are the fleet. */
  readonly engines: string | undefined;
  /** No engine of any other kind. */
  readonly simulated: boolean;
  readonly env: NodeJS.ProcessEnv;
}

interface PortRow {
  readonly port: number;
  readonly flag: string;
  readonly variable: string;
  readonly what: string;
}

const portRows: Readonly<Record<PortName, PortRow>> = {
  gateway: { port: 8080, flag: 'gateway-port', variable: 'SWITCHYARD_GATEWAY_PORT', what: 'the OpenAI-compatible API' },
  console: { port: 8090, flag: 'console-port', variable: 'SWITCHYARD_CONSOLE_PORT', what: 'the operator API' },
  nats: { port: 4222, flag: 'nats-port', variable: 'SWITCHYARD_NATS_PORT', what: 'our NATS' },
  redis: { port: 6379, flag: 'redis-port', variable: 'SWITCHYARD_REDIS_PORT', what: 'our Redis' },
  temporal: { port: 7233, flag: 'temporal-port', variable: 'SWITCHYARD_TEMPORAL_PORT', what: 'our Temporal' },
  temporalUi: { port: 8233, flag: 'temporal-ui-port', variable: 'SWITCHYARD_TEMPORAL_UI_PORT', what: "Temporal's UI" },
  tracingUi: { port: 9411, flag: 'tracing-port', variable: 'SWITCHYARD_TRACING_PORT', what: 'the tracing UI, when it is Zipkin' },
};

function portNumber(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new InvalidArgumentError('a port is a number from 1 to 65535');
  return port;
}

/** The flags, for parsing and for --help. */
export function startCommand(): Command {
  const command = new Command('npm start --')
    .description(
      'Starts Switchyard: NATS, Redis, Temporal, every service and a small fleet: a real model on llama.cpp, and simulated engines. Ctrl-C stops all of it.',
    )
    .addOption(new Option('--model <file.gguf>', 'a model of yours on llama.cpp, in place of SmolLM2'))
    .addOption(
      new Option('--engines <urls>', 'servers that run already and speak the OpenAI API, with commas: they are the whole fleet').env(
        'SWITCHYARD_ENGINES',
      ),
    )
    .addOption(new Option('--simulated', 'simulated engines only: nothing is fetched for others'))
    .addOption(new Option('--embedded', 'all services in one process, without any server: ready in seconds, keeps nothing'))
    .addOption(new Option('--fresh', 'forget what earlier starts have kept (queues, ledgers, keys, workflows, the size of the fleet)'))
    .addOption(new Option('--no-tracing', 'no tracing UI, no spans'))
    .addOption(new Option('--host <address>', 'where to listen').env('SWITCHYARD_HOST').default('127.0.0.1'))
    .addOption(new Option('--state <folder>', 'what is kept between starts, and the logs').env('SWITCHYARD_STATE_DIR').default('.switchyard'))
    .addOption(new Option('--config <folder>', 'fleet.yaml and the settings of services').env('SWITCHYARD_CONFIG_DIR').default('infra/config'));
  for (const name of portNames) {
    const { port, flag, variable, what } = portRows[name];
    command.addOption(new Option(`--${flag} <port>`, `of ${what}`).env(variable).default(port).argParser(portNumber));
  }
  return command.addHelpText(
    'after',
    `
Servers of your own are used where their address is set: NATS_URL, REDIS_URL, TEMPORAL_ADDRESS (and TEMPORAL_NAMESPACE),
OTEL_EXPORTER_OTLP_ENDPOINT. Without that, a suitable program on PATH or in the cache is started; otherwise it is fetched or
built first. A default port of these servers that is taken is replaced by the next free one; a taken port of yours is an error.

Examples:
  npm start                                    everything, with what earlier starts have kept
  npm start -- --embedded                      a first look in three seconds
  npm start -- --model qwen2.5.gguf             your model; clients name it by its file, in lower case
  SWITCHYARD_ENGINES=http://10.0.0.7:8000,http://10.0.0.8:8000 npm start
                                               before your vLLM, SGLang or llama-server (a key: SWITCHYARD_ENGINES_API_KEY)
  npm start -- --gateway-port 9000             clients use http://127.0.0.1:9000/v1
  NATS_URL=nats://10.0.0.5:4222 npm start      with a NATS that runs already

Logs: .switchyard/logs/<process>.log. The size of the fleet: ${'infra/config/fleet.yaml'}, later \`npx switchyard scale\`.`,
  );
}

/** The other one that is to have the same port, if any. */
export function sharing(ports: StartSettings['ports'], name: PortName): PortSetting | undefined {
  const other = portNames.find((one) => one !== name && ports[one].port === ports[name].port);
  return other && ports[other];
}

/** @throws CommanderError for wrong use and for --help, after writing the text for it */
export function parseSettings(root: string, args: readonly string[], env: NodeJS.ProcessEnv): StartSettings {
  const command = startCommand().exitOverride().allowExcessArguments(false);
  command.parse([...args], { from: 'user' });
  const given = command.opts<Record<string, unknown>>();
  for (const other of ['model', 'simulated']) {
    if (given.engines && given[other]) command.error(`error: --engines is the whole fleet: it does not go with --${other}`, { exitCode: 1 });
  }
  if (given.model !== undefined && given.simulated) command.error('error: --model does not go with --simulated', { exitCode: 1 });
  const ports = {} as Record<PortName, PortSetting>;
  for (const name of portNames) {
    const { flag, variable } = portRows[name];
    const key = flag.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
    ports[name] = { port: given[key] as number, chosen: command.getOptionValueSource(key) !== 'default', flag, variable };
  }
  for (const name of portNames) {
    const other = sharing(ports, name);
    // A server's default gives way to what was chosen; clients know the other two by their ports.
    const firm = (port: PortSetting) => port.chosen || port === ports.gateway || port === ports.console;
    if (!other || !firm(other) || !firm(ports[name])) continue;
    const { flag, port } = ports[name];
    command.error(`error: --${flag} and --${other.flag} are both ${port}: choose another for one of them`, { exitCode: 1 });
  }
  const stateFolder = resolve(root, given.state as string);
  return {
    root,
    host: given.host as string,
    ports,
    stateFolder,
    configFolder: resolve(root, given.config as string),
    embedded: given.embedded === true,
    fresh: given.fresh === true,
    tracing: given.tracing === true,
    model: given.model as string | undefined,
    engines: (given.engines as string | undefined) || undefined,
    simulated: given.simulated === true,
    env,
  };
}

/** Where one process's log is. */
export function logPathOf(settings: StartSettings, id: string): string {
  return join(settings.stateFolder, 'logs', `${id}.log`);
}
