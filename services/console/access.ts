// Who may ask the operator API for what. A key says who asks; without keys the name is declared, and only this machine asks.
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { presentedKey } from '../../core/openai/headers.ts';
import type { KeyCache } from '../../lib/auth/key-cache.ts';
import { type ApiKey, hashKey, holds, keyPrefix, rootName, sameHash } from '../../lib/auth/keys.ts';
import { isLoopback } from '../../lib/net/loopback.ts';
import type { HttpRequest } from '../../lib/ports/http.ts';
import type { ConsoleConfig } from './config.ts';

export type Scope = 'read' | 'operate' | 'approve';

export interface Operator {
  /** Empty for a reader who did not say. */
  readonly name: string;
  /** May make and revoke keys that speak for people, not only keys for programs. */
  readonly makesOperators: boolean;
}

/** @throws SwitchyardError `invalid_api_key` | `permission_denied` | `invalid_request` | `store_unavailable` */
export type Access = (request: HttpRequest, needs: Scope) => Promise<Operator>;

export const operatorNamePattern = /^[A-Za-z0-9._@-]{1,64}$/;
const nameHeader = 'x-switchyard-operator';

export function accessMode({ auth, host }: Pick<ConsoleConfig, 'auth' | 'host'>): 'open' | 'keys' {
  return auth === 'auto' ? (isLoopback(host) ? 'open' : 'keys') : auth;
}

export function createAccess(keys: KeyCache, config: ConsoleConfig): Access {
  const open = accessMode(config) === 'open';

  return async (request, needs) => {
    const secret = presentedKey(request.headers);
    if (secret !== undefined && (!open || secret.startsWith(keyPrefix))) return operatorOf(request, needs, await find(secret));
    if (!open) {
      throw new SwitchyardError(
        'invalid_api_key',
        'the operator API needs a key: set SWITCHYARD_KEY, or send it as "authorization: Bearer sk-sy-..."',
      );
    }
    requireKnownHost(request.headers.host, config.allowedHosts);
    return { name: needs === 'read' ? '' : declaredName(request), makesOperators: true };
  };

  async function find(secret: string): Promise<Pick<ApiKey, 'name' | 'scopes'>> {
    if (config.rootKeySha256 !== '' && sameHash(config.rootKeySha256, hashKey(secret))) {
      return { name: rootName, scopes: ['read', 'operate', 'approve'] };
    }
    const key = await keys.find(secret);
    if (!key) throw new SwitchyardError('invalid_api_key', 'the key is not known, or it was revoked');
    return key;
  }
}

function operatorOf(request: HttpRequest, needs: Scope, key: Pick<ApiKey, 'name' | 'scopes'>): Operator {
  if (!holds(key, needs))
    throw new SwitchyardError('permission_denied', `this key has no scope "${needs}"; it has ${key.scopes.join(', ') || 'none'}`);
  if (request.headers[nameHeader] !== undefined) {
    throw new SwitchyardError('invalid_request', `the key says who you are (${key.name}): leave out ${nameHeader} and --as`);
  }
  return { name: key.name, makesOperators: key.name === rootName };
}

function declaredName(request: HttpRequest): string {
  const declared = request.headers[nameHeader] ?? '';
  if (operatorNamePattern.test(declared)) return declared;
  throw new SwitchyardError('invalid_request', `say who you are in ${nameHeader}: 1 to 64 letters, digits or . _ @ -`);
}

/**
 * A web page can have a name of its own point to this machine, and then a browser lets it read what we answer. Addresses,
 * localhost and names without a dot cannot be had that way.
 */
function requireKnownHost(header: string | undefined, allowed: readonly string[]): void {
  const host = URL.parse(`http://${header ?? 'localhost'}`)?.hostname ?? '';
  const isAddress = /^[\d.]+$/.test(host) || host.startsWith('[');
  if (isAddress || (host !== '' && !host.includes('.')) || host.endsWith('.localhost') || allowed.includes(host)) return;
  throw new SwitchyardError('permission_denied', `an open operator API is not asked as ${host}: use keys, or name it in allowedHosts`);
}
