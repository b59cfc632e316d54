// Values cross the same boundary as in Temporal: they are JSON on the other side, and nothing is shared.

export function asJson<T>(value: T): T {
  return value === undefined ? value : (JSON.parse(JSON.stringify(value)) as T);
}
