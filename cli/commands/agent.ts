// agent: brings servers that run already into the fleet, from this terminal, until Ctrl-C.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { stringify } from 'yaml';
import { credentialsFolder } from '../../infra/setup/credentials.ts';
import { withServers } from '../../infra/setup/join-fleet.ts';
import { loadFleet } from '../../infra/setup/load-fleet.ts';
import { defaultStateFolder, readRunFile } from '../../infra/setup/run-file.ts';
import { CommandFailure } from '../client.ts';
import { examples } from './context.ts';

interface AgentOptions {
  readonly url: readonly string[];
  readonly pool?: string;
  readonly id: readonly string[];
  readonly role?: 'mixed' | 'prefill' | 'decode';
  readonly kind: 'auto' | 'vllm' | 'sglang' | 'llama-server' | 'generic';
  readonly model?: string;
  readonly apiKeyEnv?: string;
  readonly maxRunning?: number;
}

const root = resolve(import.meta.dirname, '../..');

function more(text: string, before: readonly string[]): string[] {
  return [...before, ...text.split(',').map((part) => part.trim())].filter((part) => part !== '');
}

function atLeastOne(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('a whole number, 1 or more');
  return value;
}

export function addAgentCommand(program: Command): void {
  program
    .command('agent')
    .description('bring servers with the OpenAI API (vLLM, SGLang, llama-server, any other) into the fleet, until Ctrl-C')
    .addOption(new Option('--engine <engine>', 'what the servers are behind').choices(['openai']).default('openai'))
    .requiredOption('--url <url>', 'where a server listens, without /v1; several with commas or by repeating it', more, [])
    .option('--pool <pool>', 'pool of the fleet file that they join; needed when there are several')
    .option('--id <name>', 'name of its instance; default: the name of the pool, ext and a number', more, [])
    .addOption(new Option('--kind <kind>', 'what they are').choices(['auto', 'vllm', 'sglang', 'llama-server', 'generic']).default('auto'))
    .addOption(new Option('--role <role>', 'what they compute in a pool that shares the work').choices(['mixed', 'prefill', 'decode']))
    .option('--model <name>', 'name that they know the model by; default: what they list first')
    .option('--api-key-env <variable>', 'environment variable with the key that they want')
    .option('--max-running <n>', 'requests at a server at once, where it does not say', atLeastOne)
    .addHelpText(
      'after',
      `${examples('agent --url http://gpu-7:8000 --pool chat', 'agent --url http://a:8000,http://b:8000 --kind vllm --model org/model --api-key-env VLLM_KEY')}

Connects to what NATS_URL and REDIS_URL name, or to the \`npm start\` of this folder. docs/engines.md has the flags for each engine.`,
    )
    .action(run);
}

async function run(options: AgentOptions): Promise<void> {
  const running = readRunFile();
  const configFolder = configFolderOf(running !== undefined);
  const { pool, url, id, role, kind, model, apiKeyEnv, maxRunning } = options;
  const settings = {
    kind,
    ...(model !== undefined && { model }),
    ...(apiKeyEnv !== undefined && { apiKeyEnv }),
    ...(maxRunning !== undefined && { maxRunning }),
  };
  const { fleet, instances } = withServers(loadFleet(configFolder), { pool, urls: url, ids: id, role, settings });
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-agent-'));
  try {
    for (const name of readdirSync(configFolder)) {
      if (name.endsWith('.yaml') && name !== 'fleet.yaml') symlinkSync(resolve(configFolder, name), join(folder, name));
    }
    writeFileSync(join(folder, 'fleet.yaml'), stringify(fleet));
    const code = await agentEnded({
      ...running?.addresses,
      ...credentials(running !== undefined),
      ...process.env,
      SWITCHYARD_CONFIG_DIR: folder,
      SWITCHYARD_AGENT_INSTANCES: instances.join(','),
    });
    if (code !== 0) throw new CommandFailure(`the agent ended with ${code}: above is why`, 1, 'internal');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** That of the start that runs: it may have made a fleet of its own. */
function configFolderOf(isRunning: boolean): string {
  const made = join(defaultStateFolder, 'config');
  if (process.env.SWITCHYARD_CONFIG_DIR) return resolve(process.env.SWITCHYARD_CONFIG_DIR);
  return isRunning && existsSync(join(made, 'fleet.yaml')) ? made : join(root, 'infra/config');
}

function credentials(isRunning: boolean): NodeJS.ProcessEnv {
  const path = join(credentialsFolder({ stateFolder: defaultStateFolder }), 'agent.json');
  return isRunning && existsSync(path) ? { SWITCHYARD_CREDENTIALS_FILE: path } : {};
}

/** Ctrl-C reaches the agent as it reaches us: it lets its requests end, and we wait for it. */
function agentEnded(env: NodeJS.ProcessEnv): Promise<number> {
  const child = spawn(process.execPath, [join(root, 'services/agent/main.ts')], { cwd: root, env, stdio: 'inherit' });
  const ignore = () => {};
  const pass = () => void child.kill('SIGTERM');
  process.on('SIGINT', ignore);
  process.on('SIGTERM', pass);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      process.off('SIGINT', ignore);
      process.off('SIGTERM', pass);
      resolve(code ?? (signal === 'SIGINT' ? 0 : 1));
    });
  });
}
