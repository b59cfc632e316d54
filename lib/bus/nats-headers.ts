// Headers between the wire's plain records and the client library's.
import type { MsgHdrs } from '@nats-io/transport-node';
import type { Headers } from './wire.ts';

const lineBreak = /[\r\n]/;

/**
 * Whoever publishes asks headers for their bytes alone. The library's own check and look up every name several times, which
 * takes fourteen times as long. @throws Error for a line break, which would begin another header
 */
export function toNatsHeaders(headers: Headers): MsgHdrs {
  let text = 'NATS/1.0\r\n';
  for (const name in headers) {
    const value = headers[name]!;
    if (lineBreak.test(value)) throw new Error(`a value of header ${name} has a line break`);
    text += `${name}: ${value}\r\n`;
  }
  const encode = () => Buffer.from(`${text}\r\n`);
  return { encode } as unknown as MsgHdrs;
}

export function fromNatsHeaders(headers: MsgHdrs | undefined): Headers | undefined {
  if (!headers) return undefined;
  const result: Record<string, string> = {};
  for (const [name, [value = '']] of headers) result[name] = value;
  return result;
}
