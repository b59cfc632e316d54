// What a fuzzer finds: counted once per place in our code, with the first input's seed to see it again.

export interface Finding {
  readonly entrance: string;
  readonly what: string;
  readonly seed: number;
  readonly example: string;
  count: number;
}

/** Kinds of findings kept; later kinds are only counted under the last one. */
const maxKinds = 200;

export class Findings {
  readonly #byKind = new Map<string, Finding>();
  entrance = '';
  /** Of the batch that is being fed. */
  seed = 0;

  add(what: string, example = ''): void {
    const kind = `${this.entrance}: ${what}`;
    const known = this.#byKind.get(kind);
    if (known) known.count++;
    else if (this.#byKind.size < maxKinds)
      this.#byKind.set(kind, { entrance: this.entrance, what, seed: this.seed, example: example.slice(0, 600), count: 1 });
  }

  /** A thrown thing by its message and the first place in our own code. */
  thrown(what: string, thrown: unknown): void {
    const stack = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
    this.add(`${what}: ${placeOf(stack)}`, stack);
  }

  get all(): Finding[] {
    return [...this.#byKind.values()];
  }
}

/** Message and the first line of a stack that is ours. */
export function placeOf(stack: string): string {
  const lines = stack.split('\n');
  const ours = lines.find((line) => /\/(core|lib|services|cli|workflows|proto)\//.test(line) && !line.includes('node_modules'));
  const place = ours?.match(/((?:core|lib|services|cli|workflows|proto)\/[^\s)]+?):\d+\)?$/)?.[1] ?? '';
  return `${(lines[0] ?? '').replace(/\d{3,}/g, 'N').slice(0, 120)}${place ? ` at ${place}` : ''}`;
}
