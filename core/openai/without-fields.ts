// Takes members out of a JSON object's bytes and leaves every other byte as it is.
import { type Edit, type Edits, edited } from './edit-json.ts';

/**
 * The object without the members of these names, however their names are escaped. A name with a dot is that of a member of an
 * object within: `vllm_xargs.kv_transfer_params`. `bytes` must be a valid JSON object.
 */
export function withoutFields(bytes: Uint8Array, names: readonly string[]): Uint8Array {
  const edits: Record<string, Edit> = {};
  for (const name of names) drop(edits, name.split('.'));
  return edited(bytes, edits);
}

function drop(edits: Record<string, Edit>, [name, ...rest]: readonly string[]): void {
  const known = edits[name!];
  if (rest.length === 0 || (known && 'drop' in known)) {
    edits[name!] = { drop: true };
    return;
  }
  const inner: Record<string, Edit> = { ...(known && 'within' in known ? (known.within as Edits) : {}) };
  drop(inner, rest);
  edits[name!] = { within: inner };
}
