// Which ports are free, and who holds one that is not.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:net';

/** A port that is needed is taken. The message names the setting that chooses another. */
export class PortTakenError extends Error {
  constructor(what: string, port: number, flag: string, variable: string) {
    const holder = holderOf(port);
    const by = holder ? ` by process ${holder.pid} (${holder.command})` : '';
    super(`Port ${port} for ${what} is taken${by}. Choose another with --${flag} or ${variable}, or stop what uses it.`);
    this.name = 'PortTakenError';
  }
}

export function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.on('error', () => resolve(false));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** The first free port at or after `port`, at most `tries` of them looked at. */
export async function freePortFrom(host: string, port: number, avoid: ReadonlySet<number>, tries = 200): Promise<number> {
  for (let candidate = port; candidate < port + tries; candidate += 1) {
    if (!avoid.has(candidate) && (await isFree(host, candidate))) return candidate;
  }
  throw new Error(`no free port between ${port} and ${port + tries}`);
}

export function holderOf(port: number): { pid: number; command: string } | undefined {
  const pid = process.platform === 'linux' ? holderFromProc(port) : holderFromLsof(port);
  return pid === undefined ? undefined : { pid, command: commandOf(pid) ?? 'unknown' };
}

/** What a process was started with; undefined when there is no such process. */
export function commandOf(pid: number): string | undefined {
  try {
    const said = execFileSync('ps', ['-o', 'args=', '-p', String(pid)], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    return said === '' ? undefined : said.slice(0, 120);
  } catch {
    return undefined;
  }
}

const listening = '0A';

function holderFromProc(port: number): number | undefined {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const inodes = new Set<string>();
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of linesOf(table)) {
      const fields = line.trim().split(/\s+/);
      if (fields[1]?.endsWith(`:${hex}`) && fields[3] === listening && fields[9]) inodes.add(`socket:[${fields[9]}]`);
    }
  }
  if (inodes.size === 0) return undefined;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      for (const descriptor of readdirSync(`/proc/${pid}/fd`)) {
        if (inodes.has(readlinkSync(`/proc/${pid}/fd/${descriptor}`))) return Number(pid);
      }
    } catch {
      // Another user's process, or one that has just ended.
    }
  }
  return undefined;
}

function linesOf(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n').slice(1);
  } catch {
    return [];
  }
}

function holderFromLsof(port: number): number | undefined {
  try {
    const said = execFileSync('lsof', ['-nP', `-iTCP:${port}`, '-sTCP:LISTEN', '-t'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return Number(said.split('\n')[0]) || undefined;
  } catch {
    return undefined;
  }
}
