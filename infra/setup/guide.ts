// What a stranger reads when everything runs: where things are, and three things to try.
import pc from 'picocolors';
import type { FleetConfig } from '../../lib/config/fleet.ts';
import type { RunFile } from './run-file.ts';

export interface GuideInput {
  readonly run: RunFile;
  readonly fleet: FleetConfig;
  /** Ids. */
  readonly instances: readonly string[];
  readonly tracing: string;
  /** Undefined: there are none. */
  readonly logs: string | undefined;
}

const defaultConsole = 'http://127.0.0.1:8090';
const nameWidth = 18;

export function guideText(input: GuideInput): string {
  const { run, fleet, instances } = input;
  const pool = fleet.pools[0] as FleetConfig['pools'][number];
  const model = pool.models[0] as string;
  const command = run.consoleUrl === defaultConsole ? 'npx switchyard' : `SWITCHYARD_URL=${run.consoleUrl} npx switchyard`;
  const rows: [string, string | undefined][] = [
    ['OpenAI base URL', `${pc.bold(run.baseUrl)}  (models: ${fleet.pools.map((one) => one.models[0]).join(', ')})`],
    ['operator API', run.consoleUrl],
    ["Temporal's UI", run.temporalUiUrl],
    ['tracing UI', input.tracing],
    ['instances', instances.join(' ')],
    ['logs', input.logs],
  ];
  const victim = run.embedded
    ? `   ${command} scale ${pool.id} ${pool.instances + 1}       ${pc.dim('# one more instance')}
   ${command} instances`
    : `   ${command} instances               ${pc.dim('# the pid is in the list; take the one that serves the answer of 1')}
   kill -9 <pid>                          ${pc.dim('# the answer pauses and goes on; the instance comes back')}`;
  return `${rows
    .filter(([, text]) => text !== undefined)
    .map(([name, text]) => `  ${name.padEnd(nameWidth)}${text}`)
    .join('\n')}

${pc.bold('Three things to try, in another terminal:')}

${pc.bold('1.')} A long answer, streamed. Any OpenAI client works with the base URL above.
   curl -N ${run.baseUrl}/chat/completions -H 'content-type: application/json' \\
     -d '{"model":"${model}","stream":true,"max_tokens":2000,"messages":[{"role":"user","content":"Tell me a long story"}]}'

${pc.bold('2.')} While it streams, move it to another instance. The answer goes on, token for token.
   ${command} requests
   ${command} migrate <request> --wait

${pc.bold('3.')} ${run.embedded ? 'Change the size of a pool.' : 'Kill the process that serves it, or shrink the pool below its floor (that asks for an approval).'}
${victim}
${run.embedded ? '' : `   ${command} scale ${pool.id} ${Math.max(0, pool.floor - 1)}\n`}`;
}
