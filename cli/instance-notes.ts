// What stands below the table of instances: what their engines are and can do, and why some get no requests.
import type { InstanceRow } from '../lib/operator/types.ts';

/** In the order in which they are said. What has no words here is a detail of moving KV, which "switchyard --json instances" has. */
const words: readonly (readonly [string, string])[] = [
  ['kv_export', 'moves running requests with their KV, copied while they go on'],
  ['kv_state', 'moves running requests with their KV as one state'],
  ['kv_pull', 'hands running requests over with their KV, engine to engine'],
  ['recompute', 'goes on from token ids'],
  ['continue:text', 'goes on from text'],
  ['token_ids', 'gives token ids'],
  ['prefix_cache', 'prefix cache'],
  ['kv_events', 'says what it caches'],
  ['metrics', 'metrics'],
  ['pause', 'says when it is paused'],
  ['prefill_decode', 'prefill and decode apart'],
  ['slots', 'slots'],
];

export function canDo(capabilities: readonly string[]): string {
  // From token ids is better than from text, and nobody wants to hear of both.
  const known = words.filter(([name]) => capabilities.includes(name) && !(name === 'continue:text' && capabilities.includes('recompute')));
  return (
    known.map(([, text]) => text).join(', ') ||
    'nothing beyond answering: its requests are begun again when it fails before their first token, and end when it fails later'
  );
}

/** One line for each kind of engine, with its instances; then one for each instance that is in trouble. */
export function instanceNotes(rows: readonly InstanceRow[]): string[] {
  const live = rows.filter(({ health }) => health !== 'dead');
  const kinds = Map.groupBy(
    live.filter(({ capabilities }) => capabilities.length > 0 || live.length < 20),
    (row) => `${row.software || row.engine}: ${canDo(row.capabilities)}`,
  );
  const what = Array.from(kinds, ([text, group]) => `${group.map(({ id }) => id).join(', ')}  ${text}`);
  const away = live.filter(({ setAsideWhy }) => setAsideWhy !== '').map(({ id, setAsideWhy }) => `${id} gets no requests: ${setAsideWhy}`);
  const stale = live
    .filter(({ capabilities, loadAgeMs, setAside }) => capabilities.includes('metrics') && loadAgeMs === undefined && setAside === '')
    .map(({ id }) => `${id}: its metrics are too old, its load is what its agent counts`);
  return [...what, ...away, ...stale];
}
