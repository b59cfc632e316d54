// What a stranger reads when everything runs: where things are, and three things to try.
import pc from 'picocolors';
import type { FleetConfig } from '../../lib/config/fleet.ts';
import type { RunFile } from './run-file.ts';

export interface GuideInput {
  readonly run: RunFile;
  readonly fleet: FleetConfig;
  /** Ids. */
  readonly instances: readonly string[];
  /** The file of the root key, where the operator API wants one. */
  readonly rootKey?: string | undefined;
  readonly tracing: string;
  readonly logs: string;
  /** The command line finds this run by itself. */
  readonly findable: boolean;
}

const nameWidth = 18;
const question = 'What is it like to live on the moon? Tell me about a whole week there, day by day.';

export function guideText(input: GuideInput): string {
  const { run, fleet, instances } = input;
  const pool = fleet.pools[0] as FleetConfig['pools'][number];
  const model = pool.models[0] as string;
  const command = input.findable ? 'npx switchyard' : `SWITCHYARD_URL=${run.consoleUrl} npx switchyard`;
  const real = pool.engine !== 'sim';
  const rows: [string, string | undefined][] = [
    ['OpenAI base URL', `${pc.bold(run.baseUrl)}  (models: ${fleet.pools.map((one) => one.models[0]).join(', ')})`],
    ['operator API', run.consoleUrl],
    ['operator key', input.rootKey && `export SWITCHYARD_KEY=$(cat ${input.rootKey})  (makes keys for people: docs/security.md)`],
    ["Temporal's UI", run.temporalUiUrl],
    ['tracing UI', input.tracing],
    ['instances', instances.join(' ')],
    ['logs', input.logs],
  ];
  const third = run.embedded
    ? `Change the size of a pool.
   ${command} scale ${pool.id} ${pool.instances + 1}
   ${command} instances`
    : `Kill the process that serves it: the answer pauses and goes on, and the instance comes back.
   ${command} instances                    ${pc.dim('# with process ids')}
   kill -9 <pid>
   Then shrink the pool below its floor, which asks for an approval: ${command} scale ${pool.id} ${Math.max(0, pool.floor - 1)}`;
  return `${rows
    .filter(([, text]) => text !== undefined)
    .map(([name, text]) => `  ${name.padEnd(nameWidth)}${text}`)
    .join('\n')}

${pc.bold('Three things to try, in another terminal:')}

${pc.bold('1.')} ${real ? 'A question, answered word by word' : 'A long answer, streamed'}. Any OpenAI client works with the base URL above.
   curl -N ${run.baseUrl}/chat/completions -H 'content-type: application/json' \\
     -d '{"model":"${model}","stream":true,${real ? '"frequency_penalty":0.2,"max_tokens":900' : '"max_tokens":2000'},"messages":[{"role":"user","content":"${real ? question : 'Tell me a long story'}"}]}'

${pc.bold('2.')} While it streams, move it to another instance, as often as you like. ${pool.engine === 'openai' ? 'What your servers allow is in docs/engines.md.' : 'The answer goes on, token for token.'}
   ${command} requests
   ${command} move --wait

${pc.bold('3.')} ${third}
`;
}
