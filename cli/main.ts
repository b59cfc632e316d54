#!/usr/bin/env node
// The `switchyard` command: what operators do, from a terminal.
import { userInfo } from 'node:os';
import { Command, CommanderError, Option } from 'commander';
import { SwitchyardError } from '../core/errors/switchyard-error.ts';
import { readRunFile } from '../infra/setup/run-file.ts';
import { CommandFailure, createClient } from './client.ts';
import { addApprovalCommands } from './commands/approvals.ts';
import type { Context } from './commands/context.ts';
import { addFleetCommands } from './commands/fleet.ts';
import { addKeyCommands } from './commands/keys.ts';
import { addReplayCommand } from './commands/replay.ts';
import { addRequestCommands } from './commands/requests.ts';
import { addTraceCommand } from './commands/trace.ts';
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

const program = new Command('switchyard')
  .description('Operate a fleet of LLM inference engines: look, move, drain, scale, approve.')
  .addOption(new Option('--url <url>', 'operator API').env('SWITCHYARD_URL').default(readRunFile()?.consoleUrl ?? 'http://127.0.0.1:8090'))
  .addOption(new Option('--as <name>', 'who you are, for approvals and the audit log').env('SWITCHYARD_OPERATOR').default(currentUser()))
  .addOption(new Option('--json', 'print JSON for programs'))
  .addOption(new Option('--timeout <ms>', 'limit for one answer, ms').default(15_000).argParser(Number))
  .showHelpAfterError('(add --help for what the command takes)')
  .exitOverride()
  .addHelpText(
    'after',
    `
Examples:
  switchyard status                        what runs, what waits
  switchyard requests                      live requests; the id also stands in the answer a client gets
  switchyard migrate req-4f… --to chat-2   move a running request; its client notices nothing
  switchyard drain chat-1                  empty an instance by moving its requests
  switchyard scale chat 1                  below the pool's floor this waits for an approval
  switchyard approvals                     decisions that wait for people
  switchyard trace req-4f…                 a request's journey through every process
  switchyard replay trace.csv --seconds 60 send a recorded workload and verify every token

Exit codes: 0 done, 1 failed, 2 wrong use, 3 Switchyard not reachable, 4 refused.`,
  );

function contextOf(): Context {
  const options = program.opts<GlobalOptions>();
  return {
    json: options.json === true,
    operator: options.as,
    client: createClient({ url: options.url, operator: options.as, timeoutMs: options.timeout }),
  };
}

addFleetCommands(program, contextOf);
addRequestCommands(program, contextOf);
addApprovalCommands(program, contextOf);
addKeyCommands(program, contextOf);
addTraceCommand(program, contextOf);
addReplayCommand(program, contextOf);
try {
  await program.parseAsync();
} catch (thrown) {
  const failure = thrown instanceof SwitchyardError ? new CommandFailure(thrown.message, 2, thrown.code) : thrown;
  if (failure instanceof CommanderError) process.exitCode = failure.exitCode === 0 ? 0 : 2;
  else if (failure instanceof CommandFailure) {
    if (contextOf().json) printJson({ error: { message: failure.message, code: failure.code } });
    else process.stderr.write(`switchyard: ${failure.message}\n`);
    process.exitCode = failure.exitCode;
  } else throw thrown;
}
