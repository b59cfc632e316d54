#!/usr/bin/env node
// The `switchyard` command: what operators do, from a terminal.
import { userInfo } from 'node:os';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { SwitchyardError } from '../core/errors/switchyard-error.ts';
import { readRunFile } from '../infra/setup/run-file.ts';
import { version } from '../lib/run/version.ts';
import { CommandFailure, createClient, operatorPattern } from './client.ts';
import { addAgentCommand } from './commands/agent.ts';
import { addApprovalCommands } from './commands/approvals.ts';
import type { Context } from './commands/context.ts';
import { addFleetCommands } from './commands/fleet.ts';
import { addKeyCommands } from './commands/keys.ts';
import { addReplayCommand } from './commands/replay.ts';
import { addRequestCommands } from './commands/requests.ts';
import { addTopCommand } from './commands/top.ts';
import { addTraceCommand } from './commands/trace.ts';
import { addWorkflowCommands } from './commands/workflows.ts';
import { printJson } from './output.ts';

interface GlobalOptions {
  readonly url: string;
  readonly as: string;
  readonly json?: boolean;
  readonly timeout: number;
}

function currentUser(): string {
  try {
    return userInfo().username;
  } catch {
    return 'operator';
  }
}

/** The name of the account, as far as the operator API takes it. */
function defaultOperator(): string {
  return (
    currentUser()
      .replace(/[^A-Za-z0-9._@-]+/g, '-')
      .slice(0, 64) || 'operator'
  );
}

function operatorName(text: string): string {
  if (!operatorPattern.test(text)) throw new InvalidArgumentError('1 to 64 letters, digits or . _ @ -');
  return text;
}

function address(text: string): string {
  if (!/^https?:$/.test(URL.parse(text)?.protocol ?? '')) throw new InvalidArgumentError('an address like http://127.0.0.1:8090');
  return text;
}

/** Timers are no longer. */
const longestTimeoutMs = 2 ** 31 - 1;

function milliseconds(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > longestTimeoutMs)
    throw new InvalidArgumentError(`a whole number of ms, 1 to ${longestTimeoutMs}`);
  return value;
}

const program = new Command('switchyard')
  .description('Operate a fleet of LLM inference engines: look, move, drain, scale, approve.')
  .version(version, '-V, --version', 'print the version')
  .addOption(
    new Option('--as <name>', 'who you are, for approvals and the audit log; not with SWITCHYARD_KEY, which says it')
      .env('SWITCHYARD_OPERATOR')
      .argParser(operatorName)
      .default(defaultOperator()),
  )
  .addOption(new Option('--json', 'print JSON for programs'))
  .addOption(new Option('--timeout <ms>', 'limit for one answer, ms').default(15_000).argParser(milliseconds))
  .configureHelp({ showGlobalOptions: true })
  .showHelpAfterError('(add --help for what the command takes)')
  .exitOverride()
  .addHelpText(
    'after',
    `
Examples:
  switchyard status                        what runs, what waits
  switchyard top                           the live fleet: load, KV, moves, throughput
  switchyard requests                      live requests; the id also stands in the answer a client gets
  switchyard migrate req-4f… --to chat-2   move a running request; its client notices nothing
  switchyard drain chat-1                  empty an instance by moving its requests
  switchyard scale chat 1                  below the pool's floor this waits for an approval
  switchyard approvals                     decisions that wait for people
  switchyard trace req-4f…                 a request's journey through every process
  switchyard replay trace.csv --seconds 60 send a recorded workload and verify every token

A key for the operator API goes into SWITCHYARD_KEY.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 Switchyard not reachable, 4 refused.`,
  );

/** Whoever has a key acts under its name. @throws CommandFailure when another name is given as well */
function keyOf(): string | undefined {
  const key = process.env.SWITCHYARD_KEY || undefined;
  if (key && program.getOptionValueSource('as') !== 'default') {
    throw new CommandFailure('SWITCHYARD_KEY says who you are: leave out --as and SWITCHYARD_OPERATOR', 2, 'invalid_request');
  }
  return key;
}

function contextOf(): Context {
  const options = program.opts<GlobalOptions>();
  return {
    json: options.json === true,
    operator: options.as,
    client: createClient({ url: options.url, operator: options.as, key: keyOf(), timeoutMs: options.timeout }),
  };
}

/** Whatever a command ends with, as one sentence. */
function failureOf(thrown: unknown): CommanderError | CommandFailure {
  if (thrown instanceof CommanderError || thrown instanceof CommandFailure) return thrown;
  if (thrown instanceof SwitchyardError) return new CommandFailure(thrown.message, 2, thrown.code);
  const what = thrown instanceof Error ? thrown.message : String(thrown);
  return new CommandFailure(`the answer was not as expected (${what}): is the operator API of version ${version}, like this command?`, 1, 'internal');
}

// `agent` asks no operator API: its --url is that of servers, and the program's would take it away.
if (process.argv.slice(2).find((word) => !word.startsWith('-')) !== 'agent') {
  program.addOption(
    new Option('--url <url>', 'operator API; by default that of `npm start` in this folder')
      .env('SWITCHYARD_URL')
      .argParser(address)
      .default(readRunFile()?.consoleUrl ?? 'http://127.0.0.1:8090'),
  );
}
program.commandsGroup('The fleet:');
addFleetCommands(program, contextOf);
addTopCommand(program, contextOf);
addAgentCommand(program);
program.commandsGroup('Requests:');
addRequestCommands(program, contextOf);
addTraceCommand(program, contextOf);
addWorkflowCommands(program, contextOf);
program.commandsGroup('People:');
addApprovalCommands(program, contextOf);
addKeyCommands(program, contextOf);
program.commandsGroup('Workloads:');
addReplayCommand(program, contextOf);
// Whoever read the output has seen enough: "switchyard --json requests | head".
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
try {
  await program.parseAsync();
} catch (thrown) {
  const failure = failureOf(thrown);
  if (failure instanceof CommanderError) process.exitCode = failure.exitCode === 0 ? 0 : 2;
  else {
    if (program.opts<GlobalOptions>().json === true) printJson({ error: { message: failure.message, code: failure.code } });
    else process.stderr.write(`switchyard: ${failure.message}\n`);
    process.exitCode = failure.exitCode;
  }
}
