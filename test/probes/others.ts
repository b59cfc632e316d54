// What five gateways do under the same probes, with two engines behind each: found by trying it on the versions named
// here. A gateway that is missing from a line was not looked at closely enough to say.

export const gateways = {
  smg: 'SMG 1.13',
  sglang: 'sglang-router 0.3',
  vllm: 'vllm-router 0.1.17',
  litellm: 'LiteLLM 1.109',
  portkey: 'Portkey 1.15',
} as const;
export type Gateway = keyof typeof gateways;

type Line = Readonly<Partial<Record<Gateway, string>>>;

const rust = (text: string): Line => ({ smg: text, sglang: text, vllm: text });

export const probeNames = {
  midStream: 'engine killed in mid-stream',
  beforeFirstByte: 'engine killed before the first byte',
  backAgain: 'engine back after 30 requests met it dead: used again',
  allDead: 'both engines dead: readiness says so',
  allRefuse: 'every engine answers 429 or 503',
  firstEvent: "first event after the engine's first token",
  clientGone: 'client gone before the first byte',
  oneBroken: 'one engine answers 500 or 503 to everything',
  fields: 'fields of a request',
  badRequest: 'bad JSON, missing messages, unknown model',
  underLoad: 'probe under full load answered in',
} as const;

export const others: Readonly<Record<string, Line>> = {
  [probeNames.midStream]: {
    smg: 'an error event',
    litellm: 'an error event',
    sglang: 'ends without a word',
    vllm: 'ends without a word',
    portkey: 'ends without a word',
  },
  [probeNames.beforeFirstByte]: {
    ...rust('retried within 70 ms'),
    litellm: '500 to the client, 4 of 20 times',
    portkey: '500 to the client, always',
  },
  [probeNames.backAgain]: rust('58 s later (circuit breaker)'),
  [probeNames.allDead]: { ...rust('after 171 s'), litellm: 'not within 200 s', portkey: 'never' },
  [probeNames.allRefuse]: {
    ...rust('5 attempts a request; no time to come back'),
    litellm: '3 attempts a request; no time to come back',
    portkey: 'no time to come back',
  },
  [probeNames.firstEvent]: { smg: '1.2 ms', sglang: '44 ms (Nagle)', portkey: '28 ms (a timer)' },
  [probeNames.clientGone]: { litellm: 'the engine goes on', portkey: 'the engine goes on, also later' },
  [probeNames.oneBroken]: {
    ...rust('10 requests before it is left alone'),
    litellm: '1 request in 40 fails',
    portkey: 'half of all requests fail',
  },
  [probeNames.fields]: {
    sglang: 'cache_salt, priority and unknown ones dropped',
    vllm: 'up to ten fields added',
    litellm: 'traceparent lost',
    portkey: 'fields dropped, 12345678901234567 becomes …568, 1.0 becomes 1, traceparent lost',
  },
  [probeNames.badRequest]: {
    sglang: 'unknown model sent to the engine',
    vllm: 'text/plain; unknown model sent to the engine',
    portkey: '500',
  },
  [probeNames.underLoad]: {
    ...rust('11 to 14 ms'),
    litellm: '165 to 186 ms, at worst 5 s',
    portkey: '165 to 186 ms, at worst 5 s',
  },
};
