// The `switchyard` command: arguments that make no sense, asked of an operator API that answers nonsense. It ends in time,
// with one of its exit codes, and says a sentence instead of a stack.
import { execFile } from 'node:child_process';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { serverHeader } from '../../../lib/operator/types.ts';
import { type Chooser, createChooser, oddNumbers, oddTexts } from '../chooser.ts';
import { count, type Entrance } from '../entrance.ts';
import { mutateJson } from '../mutate-json.ts';

const main = join(import.meta.dirname, '../../../cli/main.ts');
const longestMs = 60_000;
const atOnce = 2;
const lines: readonly (readonly string[])[] = [
  ['status'],
  ['services'],
  ['instances'],
  ['requests', '--all'],
  ['pools'],
  ['migrations'],
  ['explain', 'req-1'],
  ['trace', 'req-1'],
  ['migrate', 'req-1', '--to', 'chat-2'],
  ['drain', 'chat-1', '--within', '10'],
  ['scale', 'chat', '2'],
  ['approvals'],
  ['approve', 'approval-1'],
  ['audit', '--limit', '3'],
  ['keys'],
  ['replay', 'nowhere.csv', '--seconds', '1', '--requests', '1'],
  ['--timeout', '100', 'status'],
  ['--help'],
  ['--version'],
];
/** What an operator API could say: no command gets all of what it needs. */
const answers: readonly unknown[] = [
  [{ id: 'chat-1', pool: 'chat', health: 'healthy', state: 'streaming', tokens: 1, running: 1, kvUsed: 0.5, ageMs: 5, decisions: [] }],
  { pools: [], services: [], instances: [], requests: [], active: [], recent: [], committed: 0, aborted: 0, heldBack: 0, decisions: [], spans: [] },
  { error: { message: 'no', type: 'not_found_error', param: null, code: 'not_found' } },
  null,
];

export const commandLineEntrance: Entrance = {
  name: 'command line',
  weight: 0.02,
  shortInputs: 4,
  batch: 20,
  async open(seed, findings) {
    const outcomes = new Map<string, number>();
    const running = new Set<Promise<void>>();
    const answering = createChooser(seed);
    const server = createServer((_request, response) => {
      const text = mutateJson(answering.pick(answers), answering);
      response.writeHead(answering.pick([200, 200, 200, 404, 500]), answering.chance(0.9) ? { [serverHeader]: 'operator-api' } : {});
      response.end(answering.chance(0.9) ? text : text.slice(0, text.length / 2));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };

    function run(args: readonly string[]): Promise<void> {
      const env = { ...process.env, SWITCHYARD_URL: `http://127.0.0.1:${port}`, NO_COLOR: '1' };
      return new Promise((done) => {
        execFile(process.execPath, [main, ...args], { env, timeout: longestMs, killSignal: 'SIGKILL' }, (failed, _stdout, stderr) => {
          const code = failed ? (failed.code ?? 'killed') : 0;
          count(outcomes, `exit ${code}`);
          const said = `${args.join(' ')}\n${stderr}`;
          if (typeof code !== 'number') findings.add(`a command does not end: ${code}`, said);
          else if (code > 4) findings.add(`exit code ${code}`, said);
          else if (/^\s+at .*\(.*:\d+:\d+\)$/m.test(stderr))
            findings.thrown('a command ends with a stack', Object.assign(new Error(), { stack: thrownPart(stderr) }));
          done();
        });
      });
    }

    return {
      outcomes,
      async feed(chooser) {
        const ended = run(changed(chooser.pick(lines), chooser)).finally(() => running.delete(ended));
        running.add(ended);
        if (running.size >= atOnce) await Promise.race(running);
      },
      async settle() {
        await Promise.all(running);
      },
      async close() {
        server.closeAllConnections();
        server.close();
      },
    };
  },
};

/** From the line that names the error on. */
function thrownPart(stderr: string): string {
  const all = stderr.split('\n');
  return all
    .slice(
      Math.max(
        0,
        all.findIndex((line) => /^\w*Error\b/.test(line)),
      ),
    )
    .join('\n');
}

function changed(line: readonly string[], chooser: Chooser): string[] {
  const args = [...line];
  for (let times = chooser.int(3); times > 0; times--) {
    const at = chooser.int(args.length + 1);
    // No argument of a process holds a zero.
    const odd = (chooser.chance(0.5) ? chooser.pick(oddTexts) : String(chooser.pick(oddNumbers))).replaceAll('\u0000', '');
    args.splice(
      at,
      chooser.int(2),
      chooser.chance(0.3) ? chooser.pick(['--json', '--url', '--as', '--timeout', '--', '-x', '--help', '--to', '--limit']) : odd,
    );
  }
  return args;
}
