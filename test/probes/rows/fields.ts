// Bodies with fields, numbers, order and white space that a gateway might touch: the engine says what it got.
import { expect } from 'vitest';
import { fingerprintOf } from '../../../lib/engines/sim/generation.ts';
import { probeNames } from '../others.ts';
import type { Probe } from '../probe.ts';
import { model, traceOf } from '../probe-fleet.ts';

const messages = '"messages":[{"role":"user","content":"H\\u00e9llo \\ud83d\\ude00 ☃"}]';
const bodies = [
  [
    'unknown fields',
    `{"model":"${model}","max_tokens":2,${messages},"chat_template_kwargs":{"a":[1,{"b":null}]},"return_token_ids":true,"my_own":{}}`,
  ],
  ['cache_salt', `{"model":"${model}","max_tokens":2,${messages},"cache_salt":"s-1"}`],
  [
    "priority, which is the gateway's to give",
    `{"model":"${model}","max_tokens":2,${messages}, "cache_salt":"s-1", "priority":-3 ,"x":1.0}`,
    `{"model":"${model}","max_tokens":2,${messages}, "cache_salt":"s-1", "x":1.0}`,
  ],
  ['numbers', `{"model":"${model}","max_tokens":2,${messages},"seed":12345678901234567,"temperature":1.0,"top_p":1e0,"x":0.10,"y":-0}`],
  ['order of keys', `{"z":1,${messages},"a":2,"max_tokens":2,"model":"${model}","stream":false}`],
  ['white space', `\n{ "model" :\t"${model}" ,\r\n  "max_tokens": 2,   ${messages} }\n`],
  ['a key twice', `{"model":"${model}","max_tokens":9,"max_tokens":2,${messages}}`],
  ['a stream', `{"model":"${model}","stream":true,"stream_options":{"x":1.0},"max_tokens":2,${messages}}`],
] as const;

export const fields: Probe = {
  name: probeNames.fields,
  mustHold: 'bytes untouched, the trace goes on',
  async run(fleet) {
    for (const [what, body, atEngine = body] of bodies) {
      const { traceId, headers } = traceOf();
      const answer = await fleet.post({ body, headers }).answer;
      expect(answer?.status, what).toBe(200);
      expect(answer?.text, what).toContain(`"system_fingerprint":"${fingerprintOf(Buffer.from(atEngine))}"`);
      expect(answer?.headers.traceparent, what).toContain(traceId);
      const spans = await fleet.spans(traceId, (found) => found.some(({ name }) => name === 'engine.generate'));
      expect(new Set(spans.map((span) => span.traceId))).toEqual(new Set([traceId]));
    }
    return {
      says: `${bodies.length} bodies at the engine as they were sent, byte for byte (CRC-32), one without its priority; its span is in the client's trace`,
      timings: [],
    };
  },
};
