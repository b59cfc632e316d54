// API keys. A key is shown once, when it is made; the store has its SHA-256 and what it may do, under `key/<id>`.
// The id is the beginning of the hash, so that a presented key is found with one read and without an index.
import { hash, timingSafeEqual } from 'node:crypto';
import type { Clock } from '../ports/clock.ts';
import type { Rng } from '../ports/rng.ts';
import type { LedgerLimits, Store } from '../ports/store.ts';

export const keyPrefix = 'sk-sy-';
const storePrefix = 'key/';
const idLength = 16;

/** inference: the OpenAI-compatible API. read, operate, approve: the operator API; operate and approve include read. */
export const keyScopes = ['inference', 'read', 'operate', 'approve'] as const;
export type KeyScope = (typeof keyScopes)[number];

/** The name of the one key that is in no store: whoever sets a console up gives its hash. It makes the keys of people. */
export const rootName = 'root-key';

export interface ApiKey {
  readonly id: string;
  /** Hexadecimal SHA-256 of the whole key. */
  readonly sha256: string;
  readonly name: string;
  readonly scopes: readonly KeyScope[];
  /** Model names this key may use; empty: all. */
  readonly models: readonly string[];
  readonly limits: LedgerLimits;
  readonly createdMs: number;
  /** 0: valid. */
  readonly revokedMs: number;
}

export interface NewKey {
  readonly name: string;
  readonly scopes?: readonly KeyScope[];
  readonly models?: readonly string[];
  readonly limits?: Partial<LedgerLimits>;
}

export function hashKey(secret: string): string {
  return hash('sha256', secret, 'hex');
}

export function keyIdOf(sha256: string): string {
  return sha256.slice(0, idLength);
}

/**
 * Makes a key and keeps its hash. The secret has 40 characters of the generator's randomness: give the process's own
 * (cryptographic) generator, not a seeded one, outside tests.
 * @throws SwitchyardError `store_unavailable`
 */
export async function createKey(ports: { store: Store; clock: Clock; rng: Rng }, wanted: NewKey): Promise<{ secret: string; key: ApiKey }> {
  const secret = `${keyPrefix}${ports.rng.id('')}${ports.rng.id('')}`;
  const sha256 = hashKey(secret);
  const key: ApiKey = {
    id: keyIdOf(sha256),
    sha256,
    name: wanted.name,
    scopes: wanted.scopes ?? ['inference'],
    models: wanted.models ?? [],
    limits: { requestsPerMinute: 0, tokensPerMinute: 0, budgetMicros: 0, ...wanted.limits },
    createdMs: ports.clock.now(),
    revokedMs: 0,
  };
  await ports.store.set(storePrefix + key.id, encode(key));
  return { secret, key };
}

/** The record of a key by its id, revoked ones included. @throws SwitchyardError `store_unavailable` */
export async function readKey(store: Store, id: string): Promise<ApiKey | undefined> {
  const bytes = await store.get(storePrefix + id);
  return bytes && decode(bytes);
}

/** All keys, sorted by id, revoked ones included. @throws SwitchyardError `store_unavailable` */
export async function listKeys(store: Store): Promise<ApiKey[]> {
  return (await store.list(storePrefix)).map((entry) => decode(entry.value));
}

/** Effective at every gateway within a second. False: there is no such key. Revoking twice keeps the first time. */
export async function revokeKey(ports: { store: Store; clock: Clock }, id: string): Promise<boolean> {
  const key = await readKey(ports.store, id);
  if (!key) return false;
  if (key.revokedMs === 0) await ports.store.set(storePrefix + id, encode({ ...key, revokedMs: ports.clock.now() }));
  return true;
}

/** Whoever may act may look. */
export function holds({ scopes }: Pick<ApiKey, 'scopes'>, scope: KeyScope): boolean {
  return scopes.includes(scope) || (scope === 'read' && (scopes.includes('operate') || scopes.includes('approve')));
}

/** Whether the record is the one of the key with this hash. */
export function matches(key: ApiKey, sha256: string): boolean {
  return sameHash(key.sha256, sha256);
}

/** Takes the same time wherever they differ. */
export function sameHash(one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));
}

function encode(key: ApiKey): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(key));
}

function decode(bytes: Uint8Array): ApiKey {
  return JSON.parse(new TextDecoder().decode(bytes)) as ApiKey;
}
