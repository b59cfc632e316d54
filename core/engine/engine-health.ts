// Whether an engine is left alone for a while, judged by how the requests end that it gets. Three failures in a row, or
// eight among sixteen, and it is set aside: no request goes to it any more, and now and then it is asked for a token that
// nobody sees. Once it has given one it gets requests again, and the first of them decides whether it stays.

import type { Refusal } from '../../proto/gen/messages.ts';
import { type Code, isCode } from '../errors/codes.ts';

/** Faults of the engine itself. What a client did wrong, or left, and a full queue of ours are none. */
const faults = ['engine_error', 'engine_unavailable', 'engine_overloaded'] as const satisfies readonly Code[];
export type EngineFault = (typeof faults)[number];

export interface Aside {
  readonly code: EngineFault;
  readonly message: string;
  readonly sinceMs: number;
  /** Undefined while a probe is under way. */
  readonly probeAtMs: number | undefined;
}

export interface EngineHealth {
  /** Of the last sixteen requests, the newest in the lowest bit: 1 failed. */
  readonly outcomes: number;
  readonly inARow: number;
  /** Undefined: it gets requests. */
  readonly aside: Aside | undefined;
  /** Back on the word of a probe: one more failure and it is set aside again. */
  readonly onTrial: boolean;
  /** Probes since a request last went well: their pauses grow. */
  readonly probes: number;
}

const failuresInARow = 3;
const failuresAmong = 8;
const remembered = 0xffff;
const firstProbeMs = 100;
/** Half of the second within which an engine that is well again is to be used. */
const longestProbeMs = 400;
/** When a client may come back that an engine set aside has turned away. */
export const asideRetryMs = 1_000;

export const wellEngine: EngineHealth = { outcomes: 0, inARow: 0, aside: undefined, onTrial: false, probes: 0 };

export function isEngineFault(code: string): code is EngineFault {
  return (faults as readonly string[]).includes(code);
}

/** The same object when nothing changes, as for nearly every request. */
export function requestWentWell(health: EngineHealth): EngineHealth {
  // One that began before the engine failed says nothing of how it is now.
  if (health.aside) return health;
  if (health.outcomes === 0 && !health.onTrial && health.probes === 0) return health;
  return { ...health, outcomes: (health.outcomes << 1) & remembered, inARow: 0, onTrial: false, probes: 0 };
}

export function requestFailed(health: EngineHealth, error: Refusal, nowMs: number): EngineHealth {
  if (health.aside || !isEngineFault(error.code)) return health;
  const failed = { ...health, outcomes: ((health.outcomes << 1) | 1) & remembered, inARow: health.inARow + 1 };
  const enough = health.onTrial || failed.inARow >= failuresInARow || ones(failed.outcomes) >= failuresAmong;
  return enough ? setAside(failed, error.code, error.message, nowMs) : failed;
}

export function probeBegan(health: EngineHealth): EngineHealth {
  return health.aside ? { ...health, aside: { ...health.aside, probeAtMs: undefined }, probes: health.probes + 1 } : health;
}

/** `error` undefined: it has given a token. */
export function probeAnswered(health: EngineHealth, error: Refusal | undefined, nowMs: number): EngineHealth {
  const { aside } = health;
  if (!aside) return health;
  if (!error) return { ...health, outcomes: 0, inARow: 0, aside: undefined, onTrial: true };
  const code = isCode(error.code) && isEngineFault(error.code) ? error.code : aside.code;
  return { ...health, aside: { ...aside, code, message: error.message, probeAtMs: nowMs + probePauseMs(health.probes) } };
}

/** When the engine is to be probed. */
export function probeAtMs({ aside }: EngineHealth): number | undefined {
  return aside?.probeAtMs;
}

function setAside(health: EngineHealth, code: EngineFault, message: string, nowMs: number): EngineHealth {
  return { ...health, onTrial: false, aside: { code, message, sinceMs: nowMs, probeAtMs: nowMs + probePauseMs(health.probes) } };
}

function probePauseMs(probes: number): number {
  return Math.min(longestProbeMs, firstProbeMs * 2 ** Math.min(probes, 10));
}

function ones(bits: number): number {
  let count = 0;
  for (let rest = bits; rest !== 0; rest &= rest - 1) count++;
  return count;
}
