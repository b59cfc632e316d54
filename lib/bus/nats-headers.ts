// Headers between the wire's plain records and the client library's.
import { headers as createHeaders, type MsgHdrs } from '@nats-io/transport-node';
import type { Headers } from './wire.ts';

export function toNatsHeaders(headers: Headers): MsgHdrs {
  const result = createHeaders();
  for (const [name, value] of Object.entries(headers)) result.set(name, value);
  return result;
}

export function fromNatsHeaders(headers: MsgHdrs | undefined): Headers | undefined {
  return headers && Object.fromEntries(headers.keys().map((name) => [name, headers.get(name)]));
}
