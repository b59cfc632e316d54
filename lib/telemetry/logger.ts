// Logs of a process: one JSON object a line, or readable lines on a terminal. The active span's ids are in every line.
import pc from 'picocolors';
import { type DestinationStream, destination, pino, stdSerializers, stdTimeFunctions } from 'pino';
import type { Logger, TraceContext } from '../ports/telemetry.ts';

export const logLevels = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface LoggerOptions {
  readonly service: string;
  readonly id: string;
  readonly pid: number;
  readonly level: LogLevel;
  readonly format: 'json' | 'pretty';
  readonly active: () => TraceContext | undefined;
  /** Default: standard output, written at once so that nothing is lost when the process ends. */
  readonly write?: (line: string) => void;
}

export function createLogger(options: LoggerOptions): Logger {
  const out = options.write ? { write: options.write } : standardOutput();
  const stream: DestinationStream = options.format === 'json' ? out : { write: (line) => out.write(prettyLine(line)) };
  const logger = pino(
    {
      level: options.level,
      base: { service: options.service, id: options.id, pid: options.pid },
      messageKey: 'message',
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: (error: unknown) => (error instanceof Error ? stdSerializers.err(error) : error) },
      mixin() {
        const [, traceId, spanId] = options.active()?.traceparent.split('-') ?? [];
        return traceId ? { trace_id: traceId, span_id: spanId } : {};
      },
    },
    stream,
  );
  return {
    debug: (message, fields) => logger.debug(fields ?? {}, message),
    info: (message, fields) => logger.info(fields ?? {}, message),
    warn: (message, fields) => logger.warn(fields ?? {}, message),
    error: (message, fields) => logger.error(fields ?? {}, message),
  };
}

function standardOutput(): DestinationStream {
  const out = destination({ dest: 1, sync: true });
  // Whoever read the output is gone: the process goes on without being heard.
  out.on('error', () => {});
  return out;
}

const colors: Record<string, (text: string) => string> = { debug: pc.dim, info: pc.green, warn: pc.yellow, error: pc.red };
const hidden = new Set(['level', 'time', 'service', 'id', 'pid', 'message', 'span_id']);

function prettyLine(line: string): string {
  const entry = JSON.parse(line) as Record<string, unknown>;
  const level = String(entry.level);
  const fields = Object.entries(entry)
    .filter(([name]) => !hidden.has(name))
    .map(([name, value]) => `${pc.dim(`${name}=`)}${prettyValue(value)}`);
  const time = String(entry.time).slice(11, 23);
  return `${pc.dim(time)} ${(colors[level] ?? String)(level.padEnd(5))} ${pc.cyan(String(entry.id))} ${entry.message}${fields.length > 0 ? ` ${fields.join(' ')}` : ''}\n`;
}

function prettyValue(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value !== null && typeof value === 'object' && 'stack' in value) return String(value.stack);
  return JSON.stringify(value);
}
