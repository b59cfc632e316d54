// What a child process writes: kept in a file of bounded size, its last lines in memory for the message about a crash,
// its errors passed on for the console.
import { closeSync, mkdirSync, openSync, renameSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Readable } from 'node:stream';

/** When the file is full it becomes `<id>.log.old`, replacing the one before: at most twice this is kept. */
const maxFileBytes = 5 * 1024 * 1024;
const tailLines = 20;
const maxLineLength = 2_000;
/** The same message of one process is told once within this. */
const repeatMs = 60_000;
/** Different messages remembered for that; beyond it all is forgotten and may be told again. */
const maxRemembered = 200;

export interface ProcessLog {
  readonly path: string;
  read(stream: Readable): void;
  /** One line, with or without its end. */
  write(line: string): void;
  /** The last lines, oldest first. */
  tail(): readonly string[];
  /** Forgets the tail, for a new start of the process. */
  restart(): void;
  close(): void;
}

/** `onError` gets the message of an error-level line, each at most once a minute. */
export function openProcessLog(path: string, onError: (message: string) => void): ProcessLog {
  mkdirSync(dirname(path), { recursive: true });
  let file = openSync(path, 'a');
  let bytes = statSync(path).size;
  let lines: string[] = [];
  let closed = false;
  const told = new Map<string, number>();

  function keep(line: string): void {
    if (closed) return;
    const text = line.length > maxLineLength ? `${line.slice(0, maxLineLength)}…` : line;
    if (bytes > maxFileBytes) {
      closeSync(file);
      renameSync(path, `${path}.old`);
      file = openSync(path, 'a');
      bytes = 0;
    }
    bytes += writeSync(file, `${text}\n`);
    lines.push(text);
    if (lines.length > tailLines) lines.shift();
    const message = errorOf(text);
    if (message === undefined) return;
    const now = Date.now();
    if (now - (told.get(message) ?? 0) < repeatMs) return;
    if (told.size >= maxRemembered) told.clear();
    told.set(message, now);
    onError(message);
  }

  return {
    path,
    read(stream) {
      let rest = '';
      stream.setEncoding('utf8');
      stream.on('data', (text: string) => {
        const parts = (rest + text).split('\n');
        rest = parts.pop() ?? '';
        for (const line of parts) if (line.trim() !== '') keep(line);
        // A line without end is cut rather than collected for ever.
        if (rest.length > maxLineLength) {
          keep(rest);
          rest = '';
        }
      });
      stream.on('end', () => {
        if (rest.trim() !== '') keep(rest);
      });
      stream.on('error', () => {});
    },
    write: (line) => keep(line.trimEnd()),
    tail: () => lines,
    restart() {
      lines = [];
    },
    close() {
      if (!closed) closeSync(file);
      closed = true;
    },
  };
}

interface LogEntry {
  readonly level: string;
  readonly message: string;
  /** All of its lines. */
  readonly cause: string | undefined;
}

/** A line of our own services' logs: JSON, as lib/telemetry writes them. */
function entryOf(line: string): LogEntry | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const { level, message, error } = JSON.parse(line) as { level?: unknown; message?: unknown; error?: unknown };
    const cause = typeof error === 'object' && error !== null ? (error as { message?: unknown }).message : error;
    return { level: String(level), message: String(message ?? 'error'), cause: typeof cause === 'string' ? cause : undefined };
  } catch {
    return undefined;
  }
}

/** The message of an error-level line of our own services' logs, with the first thing that its cause says. */
export function errorOf(line: string): string | undefined {
  const entry = entryOf(line);
  if (entry?.level !== 'error' && entry?.level !== 'fatal') return undefined;
  if (entry.cause === undefined) return entry.message;
  const [first, second] = entry.cause.split('\n');
  return `${entry.message}: ${first?.endsWith(':') && second ? `${first} ${second.trim()}` : first}`;
}

/** A line of a log for a person: an entry of ours as its message and its whole cause, anything else as it is. */
export function readable(line: string): string {
  const entry = entryOf(line);
  if (entry === undefined) return line;
  return entry.cause === undefined ? entry.message : `${entry.message}: ${entry.cause}`;
}

/** The line of a crash that tells most: an error's own line rather than its stack. Undefined: nothing looks like one. */
export function tellingLine(tail: readonly string[]): string | undefined {
  for (const line of tail.toReversed()) {
    const message = errorOf(line);
    if (message !== undefined) return message;
  }
  return tail.findLast((line) => /^\s*(?:Uncaught\s+)?(?:\w*Error\b|error:|panic:|fatal)/i.test(line))?.trim();
}
