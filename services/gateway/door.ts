// Who may come in: API keys, in the open mode and in the strict one.

import { SwitchyardError } from '../../core/errors/switchyard-error.ts';
import { presentedKey } from '../../core/openai/headers.ts';
import type { KeyCache } from '../../lib/auth/key-cache.ts';
import { type ApiKey, holds, keyPrefix } from '../../lib/auth/keys.ts';
import type { HttpRequest } from '../../lib/ports/http.ts';

/** Undefined: let in without a key (open mode). @throws SwitchyardError `invalid_api_key` | `permission_denied` | `store_unavailable` */
export type Door = (request: HttpRequest) => ApiKey | undefined | Promise<ApiKey | undefined>;

export function createDoor(keys: KeyCache, auth: 'open' | 'keys'): Door {
  const open = auth === 'open';

  return (request) => {
    const secret = presentedKey(request.headers);
    // SDKs insist on sending some key: in the open mode only one of ours means anything.
    if (open && !secret?.startsWith(keyPrefix)) return undefined;
    if (secret === undefined) throw new SwitchyardError('invalid_api_key', 'an API key is needed: send it as "authorization: Bearer sk-sy-..."');
    const found = keys.find(secret);
    return found instanceof Promise ? found.then(checked) : checked(found);
  };
}

function checked(key: ApiKey | undefined): ApiKey {
  if (!key) throw new SwitchyardError('invalid_api_key', 'the API key is not known, or it was revoked');
  if (!holds(key, 'inference')) throw new SwitchyardError('permission_denied', 'this API key is not for inference');
  return key;
}

export function mayUse(key: ApiKey | undefined, model: string): boolean {
  return key === undefined || key.models.length === 0 || key.models.includes(model);
}
