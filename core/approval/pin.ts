// Pins what people agree to: one canonical text for a value, and its hash. The approver sees and names the hash, and
// the executor refuses to run anything whose hash differs.
import { sha256Hex } from './sha256.ts';

export interface PinnedPayload {
  readonly payloadJson: string;
  /** SHA-256 of `payloadJson`, lower-case hex. */
  readonly actionHash: string;
}

/**
 * JSON with sorted keys and no white space: equal values give equal text. Keys whose value is undefined are left out,
 * like JSON.stringify does.
 * @throws TypeError for what JSON cannot say (NaN, infinities, functions, bigints): two different values must not pin alike
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError(`cannot pin the number ${value}`);
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item)).join(',')}]`;
  if (typeof value === 'object') {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
  }
  throw new TypeError(`cannot pin a ${typeof value}`);
}

/** @throws TypeError for what JSON cannot say */
export function pinPayload(value: unknown): PinnedPayload {
  const payloadJson = canonicalJson(value);
  return { payloadJson, actionHash: sha256Hex(payloadJson) };
}
